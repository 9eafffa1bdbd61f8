//! The load for the ladder: clients that send one message each, check the echo byte by byte, and send the next.
//!
//! One thread on a completion port of its own serves all clients, the same for every model. The next message
//! waits for the echo of the last one (a closed model), so that a slow server is given less to do and is never
//! flooded: what is compared is the price of a message, not a queue. Nothing here knows which model answers.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use naksi_os::completion_port::{Associated, CompletionPort, Packet};
use naksi_os::connection::{Connection, Verb};
use naksi_os::syscall_counter::SyscallCounter;

/// The bytes of one message.
pub const MESSAGE_BYTES: usize = 64;

/// Longest wait for a connect on this machine.
const CONNECT_SPAN_MAX: Duration = Duration::from_secs(10);

struct Client {
    number: u64,
    round: u64,
    /// Bytes of this round's echo that have come.
    checked: usize,
    sent_at: Instant,
}

/// Clients of one server.
pub struct Crowd {
    port: CompletionPort<Client>,
    /// Connected, and waiting for the start.
    ready: Vec<Associated<Client>>,
    connected: u64,
    ended: u64,
    wrong: u64,
    /// How many of them talk; the others only listen.
    talkers_max: usize,
    talkers: usize,
}

impl Crowd {
    /// An empty crowd, of which at most `talkers_max` clients will talk.
    ///
    /// # Errors
    /// The system refuses a port.
    pub fn open(talkers_max: usize) -> io::Result<Self> {
        let port = CompletionPort::create(1, &SyscallCounter::default())?;
        Ok(Self { port, ready: Vec::new(), connected: 0, ended: 0, wrong: 0, talkers_max, talkers: 0 })
    }

    /// One more client, which does nothing before the crowd runs.
    ///
    /// # Errors
    /// The server takes no connection.
    pub fn connect(&mut self, server: SocketAddr) -> io::Result<()> {
        let socket = TcpStream::connect_timeout(&server, CONNECT_SPAN_MAX)?;
        socket.set_nodelay(true)?;
        let session = Client { number: self.connected, round: 0, checked: 0, sent_at: Instant::now() };
        let connection = Connection::new(socket, MESSAGE_BYTES, session);
        self.ready.push(self.port.associate(connection, self.connected as usize)?);
        self.connected += 1;
        Ok(())
    }

    /// Clients that connected and were not ended by the server.
    pub fn clients(&self) -> u64 {
        self.connected - self.ended
    }

    /// Echoes that were not what was sent.
    pub fn wrong(&self) -> u64 {
        self.wrong
    }

    /// Sends and receives for a while, and tells of every message how long it took. A client that waits for its
    /// echo at the end goes on when the crowd runs again.
    ///
    /// # Errors
    /// The port fails.
    pub fn run(&mut self, span: Duration, mut on_message: impl FnMut(Duration)) -> io::Result<()> {
        let began = Instant::now();
        for associated in std::mem::take(&mut self.ready) {
            if self.talkers < self.talkers_max {
                self.talkers += 1;
                self.say(associated)?;
            } else {
                // A receive that never completes unless the server disconnects.
                self.port.start(associated, Verb::Recv)?;
            }
        }
        loop {
            let left = span.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            let Some(packet) = self.port.next(Some(left))? else { continue };
            let Packet::Done { associated, verb, result } = packet else { continue };
            match (verb, result) {
                (_, Err(_)) | (Verb::Recv, Ok(0)) => self.ended += 1,
                (Verb::Send, Ok(_)) if !associated.connection().unsent().is_empty() => {
                    self.port.start(associated, Verb::Send)?;
                }
                (Verb::Send, Ok(_)) => self.port.start(associated, Verb::Recv)?,
                (Verb::Recv, Ok(_)) => self.check(associated, &mut on_message)?,
            }
        }
    }

    fn say(&self, mut associated: Associated<Client>) -> io::Result<()> {
        let connection = associated.connection_mut();
        let client = &mut connection.session;
        client.checked = 0;
        client.sent_at = Instant::now();
        let message = message(client.number, client.round);
        connection.put(&message);
        self.port.start(associated, Verb::Send)
    }

    fn check(
        &mut self,
        mut associated: Associated<Client>,
        on_message: &mut impl FnMut(Duration),
    ) -> io::Result<()> {
        let connection = associated.connection_mut();
        let expected = message(connection.session.number, connection.session.round);
        let from = connection.session.checked;
        let received = connection.received();
        let bytes = received.len();
        if expected.get(from..from + bytes) != Some(received) {
            // What comes after a wrong byte means nothing.
            self.wrong += 1;
            self.ended += 1;
            return Ok(());
        }
        connection.forget_received();
        connection.session.checked += bytes;
        if connection.session.checked < MESSAGE_BYTES {
            return self.port.start(associated, Verb::Recv);
        }
        on_message(connection.session.sent_at.elapsed());
        connection.session.round += 1;
        self.say(associated)
    }
}

/// A message that no other client and no other round has.
fn message(number: u64, round: u64) -> [u8; MESSAGE_BYTES] {
    let mut bytes = [0; MESSAGE_BYTES];
    let mut word = number << 32 ^ round;
    for chunk in bytes.chunks_exact_mut(8) {
        // The steps of SplitMix64: neighbours differ in every byte.
        word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        chunk.copy_from_slice(&(mixed ^ mixed >> 27).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn an_echo_with_one_wrong_bit_is_found() {
        for flip in [0, 1] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("its address");
            let server = thread::spawn(move || {
                let (mut socket, _) = listener.accept().expect("the client comes");
                let mut bytes = [0; MESSAGE_BYTES];
                for round in 0..3 {
                    socket.read_exact(&mut bytes).expect("a message");
                    bytes[17] ^= flip * u8::from(round == 2);
                    socket.write_all(&bytes).expect("its echo");
                }
            });
            let mut crowd = Crowd::open(1).expect("a port");
            crowd.connect(address).expect("it connects");
            let mut messages = 0;
            while crowd.clients() > 0 {
                crowd.run(Duration::from_millis(5), |_| messages += 1).expect("it runs");
            }
            server.join().expect("the server ends");
            assert_eq!((messages, crowd.wrong()), (3 - u64::from(flip), u64::from(flip)));
        }
    }
}
