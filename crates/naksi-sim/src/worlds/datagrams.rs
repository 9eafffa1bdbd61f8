//! Datagrams of a run: two sockets on a port of their own that write to each other while the storm lasts, and after.
//!
//! A letter may be lost or late; it never comes twice, never from another socket and never changed, and in calm weather
//! every one comes. The engine has no datagrams, so this stands on the bare port. Nothing here knows a session.

use std::net::SocketAddr;

use crate::kernel::port::Port;
use crate::kernel::world::World;
use bytes::Bytes;
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::Ended;
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_os::port::{Port as _, PortOptions};

/// The longest letter, in bytes.
const LETTER_BYTES_MAX: usize = 300;
const KIND_RECV: u8 = 1;
const KIND_SEND: u8 = 2;

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Sent,
    /// Its send failed: it may not arrive.
    Failed,
    Came,
}

/// Two pen friends.
#[derive(Debug)]
pub struct Letters {
    port: Port,
    friends: [(Handle, SocketAddr); 2],
    /// The letter that is with the kernel, by who writes.
    sending: [Option<usize>; 2],
    fates: Vec<Fate>,
    /// The first letter that was written after the storm.
    calm_from: Option<usize>,
    /// No more letters are written.
    hushed: bool,
    caught: Vec<Completion>,
}

impl Letters {
    /// Two sockets in a world, unless it has no descriptors to spare.
    pub fn open(world: &World) -> Option<Self> {
        let mut port = world.open_port(&PortOptions::default());
        let mut friend = || port.bind_datagram("10.0.0.7:0".parse().expect("an address")).ok();
        let friends = [friend()?, friend()?];
        let mut letters = Self {
            port,
            friends,
            sending: [None; 2],
            fates: Vec::new(),
            calm_from: None,
            hushed: false,
            caught: Vec::new(),
        };
        (0..2).for_each(|friend| letters.listen(friend, vec![0; LETTER_BYTES_MAX]));
        Some(letters)
    }

    /// The storm is over: what is written from now on comes.
    pub fn calm_down(&mut self) {
        self.calm_from = Some(self.fates.len());
    }

    /// The last letter has been written.
    pub fn hush(&mut self) {
        self.hushed = true;
    }

    /// One of the two writes, if its last letter has left.
    pub fn write(&mut self, random: u64) {
        let friend = (random >> 20) as usize % 2;
        if self.hushed || self.sending[friend].is_some() {
            return;
        }
        let number = self.fates.len();
        let (socket, remote) = (self.friends[friend].0, self.friends[1 - friend].1);
        let op = Op::SendTo { socket, remote, bytes: Bytes::from(letter(number)) };
        if self.port.submit(Token::new(KIND_SEND, friend as u32, 0), op).is_ok() {
            self.sending[friend] = Some(number);
            self.fates.push(Fate::Sent);
        }
    }

    /// What has come is read, if anything has. Returns how many steps that was.
    ///
    /// # Panics
    /// A letter came twice, changed, or from another socket.
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
                        assert_eq!(datagram.from, self.friends[1 - friend].1, "a letter from a stranger");
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

    /// Letters that were written in calm weather and have not come yet.
    pub fn missing(&self) -> usize {
        self.calm().filter(|fate| **fate != Fate::Came).count()
    }

    /// Letters that were written in calm weather and have come.
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
            number.filter(|number| *number < self.fates.len()).expect("a letter that was not written");
        assert_eq!(bytes, letter(number), "a letter was changed on its way");
        assert_eq!(self.fates[number], Fate::Sent, "letter {number} came twice, or was never sent");
        self.fates[number] = Fate::Came;
    }
}

fn letter(number: usize) -> Vec<u8> {
    let mut bytes = (number as u64).to_le_bytes().to_vec();
    bytes.resize(bytes.len() + number % (LETTER_BYTES_MAX - 7), number as u8);
    bytes
}
