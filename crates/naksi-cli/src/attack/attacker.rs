//! One attacker: a connection on which a script is played, and when and how it ended.
//!
//! It never blocks; its owner polls it.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::script::{Due, Script};

/// How long one connect may take before the attacker counts as refused.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// The receive buffer of an attacker that does not read: small, so that the server is affected at once.
const DEAF_RECV_BYTES: usize = 4096;
/// The send buffer of an attacker. Unsent data takes memory of this machine, which is also the server's: a thousand
/// attackers would exhaust the kernel's memory for TCP from their side alone.
const SEND_BYTES: usize = 64 * 1024;

/// How long an attacker that does not read pauses when its bytes are not taken: a thousand attackers that retry at
/// once would be a load of the tool itself on the processors of the server and the regular clients.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often an attacker that has sent everything checks whether it was disconnected, for the same reason: two
/// thousand empty reads every 20 ms added 1.5 ms to the regular clients' p99.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How an attacker's connection is opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) target: SocketAddr,
    /// The local address to connect from; the system's choice if there is none.
    pub(super) from: Option<IpAddr>,
    /// Ends with a reset instead of a FIN.
    pub(super) resets: bool,
    pub(super) deaf: bool,
}

impl Opening {
    /// Opens one connection that does not block.
    pub(super) fn open(&self) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.target), Type::STREAM, None)?;
        if let Some(from) = self.from {
            // Systems that have one loopback address only attack from that one.
            socket.bind(&SocketAddr::new(from, 0).into()).ok();
        }
        if self.deaf {
            socket.set_recv_buffer_size(DEAF_RECV_BYTES)?;
        }
        socket.set_send_buffer_size(SEND_BYTES)?;
        if self.resets {
            socket.set_linger(Some(Duration::ZERO))?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.connect_timeout(&self.target.into(), CONNECT_WITHIN)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }
}

/// One attacker that is connected.
pub(super) struct Attacker {
    stream: TcpStream,
    script: Script,
    said_bytes: usize,
    heard_bytes: u64,
    born: Instant,
    /// When the server last took a byte of it.
    taken: Instant,
    turn_at: Instant,
}

/// What a turn has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Going,
    /// The server ended it, this long after its deadline began.
    Ended(Duration),
}

impl Attacker {
    /// A newly connected attacker. It starts the `share`-th part (0 to 1) of its interval after the first one: many
    /// that send at the same instant would be a burst made by the tool.
    pub(super) fn new(stream: TcpStream, script: Script, now: Instant, share: f64) -> Self {
        let turn_at = now + script.turn_every.mul_f64(share);
        Self { stream, script, said_bytes: 0, heard_bytes: 0, born: now, taken: now, turn_at }
    }

    /// Sends and receives the next part.
    pub(super) fn turn(&mut self, now: Instant, scratch: &mut [u8]) -> Turn {
        if now < self.turn_at {
            return Turn::Going;
        }
        let ended = (self.script.reads && self.hear(scratch)) || self.say(now) || self.has_failed();
        if ended { Turn::Ended(now.duration_since(self.clock_began())) } else { Turn::Going }
    }

    /// Whether it should have been ended this long ago, or longer.
    pub(super) fn is_overdue(&self, now: Instant, grace: Duration) -> bool {
        let within = match self.script.due {
            Due::AfterConnect(within) | Due::AfterStall(within) => within,
            Due::Never => return false,
        };
        now.duration_since(self.clock_began()) > within + grace
    }

    /// Whether it leaves by itself: it came for a moment only, or the attack is over and its behaviour is allowed.
    pub(super) fn leaves(&self, now: Instant, is_over: bool) -> bool {
        let has_stayed = |within| now.duration_since(self.born) >= within;
        (is_over && self.script.due == Due::Never) || self.script.leaves_after.is_some_and(has_stayed)
    }

    /// Bytes that the server sent and this attacker read.
    pub(super) fn heard_bytes(&self) -> u64 {
        self.heard_bytes
    }

    fn clock_began(&self) -> Instant {
        match self.script.due {
            Due::AfterStall(_) => self.taken,
            Due::AfterConnect(_) | Due::Never => self.born,
        }
    }

    /// Reads what there is. Returns whether the connection is over.
    fn hear(&mut self, scratch: &mut [u8]) -> bool {
        // A flooder's answers are a flood as well; the rest of them is read in the next turn.
        for _ in 0..8 {
            match self.stream.read(scratch) {
                Ok(0) => return true,
                Ok(count) => self.heard_bytes += count as u64,
                Err(error) => return is_over(error.kind()),
            }
        }
        false
    }

    /// Sends the next part of the script. Returns whether the connection is over.
    fn say(&mut self, now: Instant) -> bool {
        self.turn_at = now + self.script.turn_every;
        let mut left = self.script.bytes_per_turn;
        while left > 0 {
            let part = self.next_part();
            let part = &part[..part.len().min(left)];
            if part.is_empty() {
                self.turn_at = now + LOOK_EVERY.max(self.script.turn_every);
                return false;
            }
            match (&self.stream).write(part) {
                Ok(count) => {
                    self.said_bytes += count;
                    self.taken = now;
                    left -= count;
                }
                Err(error) => {
                    if !self.script.reads {
                        self.turn_at = self.turn_at.max(now + PATIENCE);
                    }
                    return is_over(error.kind());
                }
            }
        }
        false
    }

    fn next_part(&self) -> &[u8] {
        match self.said_bytes.checked_sub(self.script.opening.len()) {
            None => &self.script.opening[self.said_bytes..],
            Some(_) if self.script.refrain.is_empty() => &[],
            Some(further) => &self.script.refrain[further % self.script.refrain.len()..],
        }
    }

    /// An attacker that does not read still notices a reset.
    fn has_failed(&self) -> bool {
        !self.script.reads && !matches!(self.stream.take_error(), Ok(None))
    }
}

fn is_over(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
