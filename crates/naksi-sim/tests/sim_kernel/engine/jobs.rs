//! Everything that is not a session: connects, timeouts, posts, a file and a datagram socket.

use super::{
    ACCEPT, ACCEPT_AGAIN, CONNECT, COUNTED, DATAGRAM_OVER, DATAGRAM_RECV, DATAGRAM_SEND, END, Engine, FILE,
    TIMER, token,
};
use bytes::Bytes;
use naksi_core::completion::Done;
use naksi_core::ended::Ended;
use naksi_core::op::Op;
use naksi_os::port::{FileAccess, Port as _, Poster as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

impl Engine {
    pub(crate) fn start_jobs(&mut self, server: SocketAddr, listener: SocketAddr) {
        for (number, remote) in [server, server, listener, listener].into_iter().enumerate() {
            self.jobs += 1;
            let name = token(CONNECT, number as u32);
            self.port.submit(name, Op::Connect { remote }).expect("connects do not collide");
            if number == 1 {
                self.port.cancel(name);
            }
        }
        let at = self.port.now() + Duration::from_millis(5);
        for number in 0..3 {
            self.jobs += 1;
            let name = token(TIMER, number);
            self.port.submit(name, Op::Timeout { at }).expect("timeouts do not collide");
            if number > 0 {
                self.port.cancel(name);
            }
        }
        for value in 0..5 {
            self.jobs += 1;
            assert!(self.port.poster().post(token(COUNTED, 0), value));
        }
        let name = format!("log.{}", self.index);
        if let Ok(file) = self.port.open_file(Path::new(&name), FileAccess::Create) {
            self.file = Some(file);
            self.jobs += 1;
            let bytes = b"the line is cast before the fish comes".to_vec();
            self.port
                .submit(token(FILE, 0), Op::WriteAt { file, offset: 3, bytes })
                .expect("files take many");
        }
        let any = "127.0.0.1:0".parse().expect("an address");
        if let Ok((socket, address)) = self.port.bind_datagram(any) {
            self.datagram = Some(socket);
            self.jobs += 1;
            self.datagrams_left = 6;
            self.receive_datagram();
            self.datagrams_to = Some(address);
            self.send_datagram();
            let at = self.port.now() + Duration::from_millis(500);
            self.port.submit(token(DATAGRAM_OVER, 0), Op::Timeout { at }).expect("one at a time");
        }
    }

    pub(super) fn process_file(&mut self, done: Done) {
        let file = self.file.expect("the file is open");
        let next = match done {
            Done::WriteAt(bytes, Ok(written)) => {
                assert!(written as usize <= bytes.len());
                Some(Op::Sync { file })
            }
            Done::Sync(result) => {
                assert_eq!(result, Ok(()));
                Some(Op::ReadAt { file, offset: 7, buffer: vec![0; 100] })
            }
            Done::ReadAt(buffer, Ok(read)) => {
                let wanted = b"line is cast before the fish comes";
                assert_eq!(buffer[..read as usize], wanted[..read as usize]);
                assert!(buffer[read as usize..].iter().all(|byte| *byte == 0xA5), "nothing else was touched");
                Some(Op::ReadAt { file, offset: 1 << 40, buffer })
            }
            Done::ReadAt(_, Err(ended)) => {
                assert_eq!(ended, Ended::Closed);
                None
            }
            other => panic!("{other:?}"),
        };
        match next {
            Some(op) => self.port.submit(token(FILE, 0), op).expect("files take many"),
            None => {
                self.file = None;
                // The file's own job goes on as that of its close.
                self.port.submit(token(END, 1), Op::Close { handle: file }).expect("an idle file closes");
            }
        }
    }

    pub(super) fn receive_datagram(&mut self) {
        let Some(socket) = self.datagram.filter(|_| !self.datagram_over) else { return };
        let buffer = vec![0; 3];
        self.jobs += 1;
        self.datagram_busy += 1;
        self.port.submit(token(DATAGRAM_RECV, 0), Op::RecvFrom { socket, buffer }).expect("one at a time");
    }

    pub(super) fn send_datagram(&mut self) {
        let (Some(socket), Some(remote)) = (self.datagram, self.datagrams_to) else { return };
        if self.datagrams_left > 0 && !self.datagram_over {
            self.datagrams_left -= 1;
            self.datagram_busy += 1;
            self.jobs += 1;
            let bytes = Bytes::from_static(b"carp");
            let op = Op::SendTo { socket, remote, bytes };
            self.port.submit(token(DATAGRAM_SEND, 0), op).expect("one at a time");
        }
    }

    pub(super) fn process_datagram(&mut self, buffer: &[u8], result: Result<u32, Ended>) {
        self.jobs -= 1;
        self.datagram_busy -= 1;
        match result {
            Ok(length) => {
                assert_eq!((&buffer[..length as usize], length), (&b"car"[..], 3));
                self.receive_datagram();
            }
            Err(ended) => assert_eq!(ended, Ended::Aborted),
        }
        self.close_datagram();
    }

    pub(super) fn close_datagram(&mut self) {
        if self.datagram_over
            && self.datagram_busy == 0
            && let Some(handle) = self.datagram.take()
        {
            self.jobs += 1;
            self.port.submit(token(END, 2), Op::Close { handle }).expect("an idle socket closes");
        }
    }

    pub(crate) fn jobs_done(&self) -> bool {
        self.jobs == 0
    }

    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.port.cancel(token(ACCEPT, 0));
        self.port.cancel(token(ACCEPT_AGAIN, 0));
    }

    pub(crate) fn stopped(&self) -> bool {
        let ledger = self.port.ledger();
        ledger.in_flight == 0 && ledger.handles == 0
    }
}
