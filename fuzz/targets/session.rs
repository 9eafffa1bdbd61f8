//! Fuzzes the session machine with a kernel and a user driven by bytes: whatever they do, in whatever order, at most
//! one operation of a kind is in flight, nothing is in flight when the socket closes, `on_disconnected` is called
//! once, and every lease and every kept byte returns.

#![no_main]

use std::num::NonZeroU32;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use naksi_core::batch::SendBatch;
use naksi_core::buffer_pool::BufferPool;
use naksi_core::callbacks::{CloseMode, SessionCallbacks, SessionOutput, Traffic};
use naksi_core::completion::Done;
use naksi_core::ended::Ended;
use naksi_core::frame::Packet;
use naksi_core::id::Handle;
use naksi_core::lease::LeasePool;
use naksi_core::limits::Limits;
use naksi_core::op::Op;
use naksi_core::reason::DisconnectReason;
use naksi_core::session::{Context, Framing, Request, Session, Verb};
use naksi_core::tick::Tick;

/// The user: echoes, or keeps quiet, or refuses to take.
#[derive(Default)]
struct User {
    mood: u8,
    disconnected: u32,
}

impl SessionCallbacks for User {
    fn on_connected(&mut self, _: SessionOutput<'_>) {}

    fn on_recv(&mut self, mut output: SessionOutput<'_>, data: &[u8]) -> usize {
        assert_eq!(self.disconnected, 0, "law 8: nothing after on_disconnected");
        match self.mood % 4 {
            0 => return data.len() / 2,
            1 => {}
            2 => output.end(DisconnectReason::Handler, CloseMode::Graceful),
            _ => drop(output.send(data)),
        }
        data.len()
    }

    fn on_packet(&mut self, mut output: SessionOutput<'_>, packet: Packet<'_>) {
        assert_eq!(self.disconnected, 0, "law 8: nothing after on_disconnected");
        if self.mood % 4 == 3 {
            output.send(packet.frame);
        }
    }

    fn on_sent(&mut self, _: SessionOutput<'_>, bytes: usize) {
        assert!(self.disconnected == 0 && bytes > 0);
    }

    fn on_disconnected(&mut self, _: DisconnectReason, _: &Traffic) {
        self.disconnected += 1;
        assert_eq!(self.disconnected, 1, "law 8: told once");
    }
}

/// What the kernel has in its hands.
#[derive(Default)]
struct Kernel {
    recv: bool,
    recv_cancelled: bool,
    send: Option<SendBatch>,
    send_cancelled: bool,
    shutdown: bool,
    cut: bool,
    closing: bool,
}

struct Trial {
    session: Session,
    user: User,
    kernel: Kernel,
    limits: Limits,
    buffer_pool: BufferPool,
    pool: LeasePool,
    now: Tick,
}

impl Trial {
    fn with(&mut self, run: impl FnOnce(&mut Session, &mut Context<'_>, &mut User)) {
        let mut cx = Context { now: self.now, limits: &self.limits, buffer_pool: &mut self.buffer_pool };
        run(&mut self.session, &mut cx, &mut self.user);
        let kernel = &mut self.kernel;
        while let Some(request) = self.session.register(self.now, &mut self.buffer_pool) {
            match request {
                Request::Submit(_, Op::Recv { .. }) => {
                    assert!(!std::mem::replace(&mut kernel.recv, true), "two receives in flight");
                    kernel.recv_cancelled = false;
                }
                Request::Submit(_, Op::Send { batch, .. }) => {
                    assert!(kernel.send.replace(batch).is_none(), "law 7: two sends in flight");
                }
                Request::Submit(_, Op::Shutdown { how, .. }) => {
                    assert!(!std::mem::replace(&mut kernel.shutdown, true), "two shutdowns in flight");
                    kernel.cut |= how == naksi_core::op::ShutdownHow::Both;
                }
                Request::Submit(_, Op::Close { .. }) => {
                    let idle = !kernel.recv && kernel.send.is_none() && !kernel.shutdown;
                    assert!(idle, "law 4: closed with something in flight");
                    kernel.closing = true;
                }
                Request::Submit(_, op) => panic!("a session never asks for {op:?}"),
                Request::Cancel(Verb::Recv) => kernel.recv_cancelled = true,
                Request::Cancel(_) => kernel.send_cancelled = true,
            }
        }
        assert!(self.session.pending_bytes() <= self.limits.send_queue_bytes_max, "law 9");
    }

    fn done(&mut self, done: Done, more: bool) {
        self.with(|session, cx, user| session.process(done, more, cx, user));
    }

    /// One step of the script; steps that are impossible now are skipped.
    fn step(&mut self, verb: u8, argument: u8, bytes: &[u8]) {
        match verb % 12 {
            0..4 if self.kernel.recv && !bytes.is_empty() => {
                let mut buffer = self.pool.take().expect("every lease is home between two steps");
                let length = bytes.len().min(buffer.bytes.len());
                buffer.bytes[..length].copy_from_slice(&bytes[..length]);
                let lease = self.pool.lend(buffer, NonZeroU32::new(length as u32).expect("some bytes"));
                self.done(Done::Recv(Ok(lease)), true);
            }
            4 | 5 if self.kernel.recv => {
                let recalled = self.kernel.recv_cancelled || self.kernel.cut;
                let ended = match argument % 3 {
                    0 => Ended::Closed,
                    1 => Ended::Reset,
                    _ if recalled => Ended::Aborted,
                    _ => return,
                };
                self.kernel.recv = false;
                self.done(Done::Recv(Err(ended)), false);
            }
            6 | 7 => {
                let Some(batch) = self.kernel.send.take() else { return };
                let whole: usize = batch.slices().map(|slice| slice.len()).sum();
                let sent = (1 + usize::from(argument) * 300).min(whole) as u32;
                let result = match argument {
                    250.. => Err(Ended::Reset),
                    240..250 if self.kernel.send_cancelled || self.kernel.cut => Err(Ended::Aborted),
                    _ => Ok(sent),
                };
                self.done(Done::Send(batch, result), false);
            }
            8 if self.kernel.shutdown => {
                self.kernel.shutdown = false;
                self.done(Done::Shutdown(Ok(())), false);
            }
            9 if self.kernel.closing => {
                self.kernel.closing = false;
                self.done(Done::Close, false);
            }
            10 => {
                self.now = self.now + Duration::from_millis(u64::from(argument) * 100);
                self.with(|session, cx, user| session.check_deadline(cx.now, cx, user));
            }
            11 if argument >= 200 => {
                let ending = if argument % 2 == 0 { CloseMode::Graceful } else { CloseMode::Abort };
                self.with(|session, cx, user| session.end(DisconnectReason::Kicked, ending, cx, user));
            }
            11 => self.user.mood = argument,
            _ => {}
        }
    }

    /// The kernel completes everything: the session must end, whatever happened before.
    fn wind_up(&mut self) {
        self.with(|session, cx, user| session.end(DisconnectReason::Shutdown, CloseMode::Abort, cx, user));
        for _ in 0..64 {
            if self.session.over().is_some() {
                break;
            }
            self.step(8, 0, &[]);
            if self.kernel.recv && (self.kernel.cut || self.kernel.recv_cancelled) {
                self.step(4, 2, &[]);
            }
            self.step(6, 255, &[]);
            self.step(9, 0, &[]);
        }
        assert!(self.session.over().is_some(), "a session that never ends: {:?}", self.session);
        assert_eq!(self.user.disconnected, 1, "law 8");
        assert_eq!((self.pool.out(), self.buffer_pool.kept_bytes()), (0, 0), "law 5");
    }
}

fuzz_target!(|script: &[u8]| {
    let Some((first, mut rest)) = script.split_first() else { return };
    let now = Tick::from_nanos(1);
    let framing = if first % 2 == 0 { Framing::Raw } else { Framing::Packets };
    let mut trial = Trial {
        session: Session::new(Handle::new(0, 0), framing, now),
        user: User { mood: first / 2, disconnected: 0 },
        kernel: Kernel::default(),
        limits: Limits { send_queue_high_bytes: 600, send_queue_low_bytes: 200, ..Limits::default() },
        buffer_pool: BufferPool::default(),
        pool: LeasePool::new(2, 4096),
        now,
    };
    trial.with(|session, cx, user| session.connected(cx, user));
    while let [verb, argument, left @ ..] = rest {
        if trial.session.over().is_some() {
            break;
        }
        let bytes = &left[..left.len().min(usize::from(*argument))];
        trial.step(*verb, *argument, bytes);
        // Only a receive takes bytes of the script with it.
        rest = if verb % 12 < 4 { &left[bytes.len()..] } else { left };
    }
    trial.wind_up();
});
