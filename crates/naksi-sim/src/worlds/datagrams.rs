//! Datagrams of a run: two sockets on a port of their own that write to each other while the storm lasts, and after.
//!
//! A datagram may be lost or late; it never comes twice, never from another socket and never changed, and in calm weather
//! every one comes. The engine has no datagrams, so this stands on the bare port. Nothing here knows a session.

use std::net::SocketAddr;

use crate::kernel::port::SimPort;
use crate::kernel::world::World;
use bytes::Bytes;
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::Ended;
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_os::port::{Port as _, PortOptions};

/// The longest datagram, in bytes.
const LETTER_BYTES_MAX: usize = 300;
const KIND_RECV: u8 = 1;
const KIND_SEND: u8 = 2;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Sent,
    /// Its send failed: it may not arrive.
    Failed,
    Came,
}

/// Two pen friends.
#[derive(Debug)]
pub struct Datagrams {
    port: SimPort,
    friends: [(Handle, SocketAddr); 2],
    /// The datagram that is with the kernel, by its sender.
    sending: [Option<usize>; 2],
    fates: Vec<Fate>,
    /// The first datagram that was sent after the faults ended.
    calm_from: Option<usize>,
    /// No more datagrams are sent.
    hushed: bool,
    caught: Vec<Completion>,
}

impl Datagrams {
    /// Two sockets in a world, unless it has no descriptors to spare.
    pub fn open(world: &World) -> Option<Self> {
        let mut port = world.open_port(&PortOptions::default());
        let mut friend = || port.bind_datagram("10.0.0.7:0".parse().expect("an address")).ok();
        let friends = [friend()?, friend()?];
        let mut datagrams = Self {
            port,
            friends,
            sending: [None; 2],
            fates: Vec::new(),
            calm_from: None,
            hushed: false,
            caught: Vec::new(),
        };
        (0..2).for_each(|friend| datagrams.listen(friend, vec![0; LETTER_BYTES_MAX]));
        Some(datagrams)
    }

    /// The storm is over: what is written from now on comes.
    pub fn calm_down(&mut self) {
        self.calm_from = Some(self.fates.len());
    }

    /// The last datagram has been sent.
    pub fn hush(&mut self) {
        self.hushed = true;
    }

    /// One of the two sends, if its last datagram has left.
    pub fn write(&mut self, random: u64) {
        let friend = (random >> 20) as usize % 2;
        if self.hushed || self.sending[friend].is_some() {
            return;
        }
        let number = self.fates.len();
        let (socket, remote) = (self.friends[friend].0, self.friends[1 - friend].1);
        let op = Op::SendTo { socket, remote, bytes: Bytes::from(payload(number)) };
        if self.port.submit(Token::new(KIND_SEND, friend as u32, 0), op).is_ok() {
            self.sending[friend] = Some(number);
            self.fates.push(Fate::Sent);
        }
    }

    /// What has come is read, if anything has. Returns how many steps that was.
    ///
    /// # Panics
    /// A datagram arrived twice, changed, or from another socket.
    pub fn step(&mut self) -> u64 {
        if !self.port.is_runnable() {
            return 0;
        }
        let mut caught = std::mem::take(&mut self.caught);
        self.port.wait(&mut caught, None).expect("a simulated port does not break");
        for Completion { token, done, .. } in caught.drain(..) {
            let friend = token.slot() as usize;
            match done {
                Done::SendTo(_, result) => {
                    let number = self.sending[friend].take().expect("it was with the kernel");
                    if result.is_err() {
                        self.fates[number] = Fate::Failed;
                    }
                }
                Done::RecvFrom(buffer, result) => {
                    if let Ok(datagram) = &result {
                        assert_eq!(datagram.from, self.friends[1 - friend].1, "a datagram from a stranger");
                        self.read(&buffer[..datagram.bytes as usize]);
                    }
                    assert_ne!(result.err(), Some(Ended::Aborted), "it was not cancelled");
                    self.listen(friend, buffer);
                }
                other => unreachable!("{other:?} was not submitted"),
            }
        }
        self.caught = caught;
        1
    }

    /// Datagrams that were sent without faults and have not arrived yet.
    pub fn missing(&self) -> usize {
        self.calm().filter(|fate| **fate != Fate::Came).count()
    }

    /// Datagrams that were sent without faults and have arrived.
    pub fn came_in_calm(&self) -> usize {
        self.calm().filter(|fate| **fate == Fate::Came).count()
    }

    fn calm(&self) -> impl Iterator<Item = &Fate> {
        self.fates.iter().skip(self.calm_from.unwrap_or(self.fates.len()))
    }

    fn listen(&mut self, friend: usize, buffer: Vec<u8>) {
        let op = Op::RecvFrom { socket: self.friends[friend].0, buffer };
        let token = Token::new(KIND_RECV, friend as u32, 0);
        self.port
            .submit(token, op)
            .unwrap_or_else(|refused| unreachable!("it hears nothing yet: {}", refused.why));
    }

    fn read(&mut self, bytes: &[u8]) {
        let number = bytes.first_chunk().map(|number| u64::from_le_bytes(*number) as usize);
        let number =
            number.filter(|number| *number < self.fates.len()).expect("a datagram that was not written");
        assert_eq!(bytes, payload(number), "a datagram was changed on its way");
        assert_eq!(self.fates[number], Fate::Sent, "datagram {number} came twice, or was never sent");
        self.fates[number] = Fate::Came;
    }
}

fn payload(number: usize) -> Vec<u8> {
    let mut bytes = (number as u64).to_le_bytes().to_vec();
    bytes.resize(bytes.len() + number % (LETTER_BYTES_MAX - 7), number as u8);
    bytes
}
