//! The laws' own assertions, each broken on purpose: an assertion that never turned red proves nothing.

use std::cell::RefCell;
use std::rc::Rc;

use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::Ended;
use naksi_core::id::{Handle, Token};
use naksi_core::op::{Op, ShutdownHow};
use naksi_core::tick::Tick;

use super::calendar::OpId;
use super::net::SocketId;
use super::peer::{Peer, PeerEvent, PeerIo};
use super::port::SimPort;
use super::port_state::{Answer, End, Raw, Target};
use super::state::Kernel;
use super::world::WorldOptions;
use naksi_os::port::{FileAccess, ListenOptions, Port as _, PortOptions, Poster as _, SubmitErrorKind};

/// Says "hello" and listens.
struct Greeter;

impl Peer for Greeter {
    fn on_event(&mut self, io: &mut PeerIo<'_>, event: PeerEvent) {
        if event == PeerEvent::Connected {
            io.write(b"hello");
        }
    }
}

struct Bench {
    kernel: Rc<RefCell<Kernel>>,
    port: SimPort,
    socket: Handle,
    id: SocketId,
}

fn token(number: u32) -> Token {
    Token::new(9, number, 0)
}

/// Waits until something is caught.
fn catch(kernel: &Rc<RefCell<Kernel>>, port: &mut SimPort) -> Completion {
    let mut caught = Vec::new();
    loop {
        port.wait(&mut caught, None).expect("a simulated port does not break");
        if let Some(completion) = caught.pop() {
            assert!(caught.is_empty());
            return completion;
        }
        assert!(kernel.borrow_mut().advance(), "nothing happens");
    }
}

/// A port with one accepted connection and no operation but its accept in flight.
fn bench() -> Bench {
    let kernel = Rc::new(RefCell::new(Kernel::new(WorldOptions::default())));
    let options = PortOptions { lease_count: 2, lease_bytes: 64, catch_max: 1, ..PortOptions::default() };
    let mut port = SimPort::open(&kernel, &options);
    let any = "127.0.0.1:0".parse().expect("an address");
    let (listener, address) = port.listen(any, &ListenOptions::default()).expect("a fresh world has room");
    port.submit(token(0), Op::Accept { listener }).expect("the listener is idle");
    {
        let mut kernel = kernel.borrow_mut();
        let local = kernel.loopback();
        let peer = kernel.peers.add(Box::new(Greeter), local, address);
        kernel.calendar.at(Tick::ZERO, super::calendar::Event::PeerStart(peer));
    }
    let Done::Accept(Ok(accepted)) = catch(&kernel, &mut port).done else {
        panic!("a connection is accepted")
    };
    let socket = accepted.socket;
    let target = kernel.borrow_mut().port_state(0).handles.any(socket).copied();
    let Some(Target::Stream(id)) = target else { panic!("a stream was accepted") };
    Bench { kernel, port, socket, id }
}

fn batch(bytes: &[u8]) -> SendBatch {
    let mut batch = SendBatch::new();
    batch.push(Segment::Owned(bytes.to_vec()));
    batch
}

#[test]
#[should_panic(expected = "law 1: a completion after the last one")]
fn a_completion_after_the_last_one_is_caught() {
    let mut bench = bench();
    bench.port.submit(token(1), Op::Timeout { at: Tick::ZERO }).expect("a timeout");
    let key = bench.kernel.borrow_mut().port_state(0).names[&token(1)];
    catch(&bench.kernel, &mut bench.port);
    let stale = Answer::Op { key, raw: Raw::Starved, end: End::More };
    bench.kernel.borrow_mut().port_state(0).push(stale, false);
    catch(&bench.kernel, &mut bench.port);
}

#[test]
#[should_panic(expected = "law 1: a second last completion")]
fn a_second_last_completion_is_caught() {
    let mut bench = bench();
    bench.port.submit(token(1), Op::Timeout { at: Tick::ZERO }).expect("a timeout");
    let key = bench.kernel.borrow_mut().port_state(0).names[&token(1)];
    catch(&bench.kernel, &mut bench.port);
    let again = Answer::Op { key, raw: Raw::Nothing, end: End::Last };
    bench.kernel.borrow_mut().port_state(0).push(again, false);
    catch(&bench.kernel, &mut bench.port);
}

#[test]
#[should_panic(expected = "law 1: an answer to an operation that the kernel had ended")]
fn an_answer_of_an_ended_operation_is_caught() {
    let mut bench = bench();
    bench.port.submit(token(1), Op::Timeout { at: Tick::ZERO }).expect("a timeout");
    let mut kernel = bench.kernel.borrow_mut();
    let key = kernel.port_state(0).names[&token(1)];
    kernel.flush(0);
    kernel.answer(OpId { port: 0, key }, Raw::Nothing, End::Last);
}

#[test]
#[should_panic(expected = "law 5")]
fn a_buffer_that_went_astray_is_caught() {
    let mut bench = bench();
    std::mem::forget(bench.kernel.borrow_mut().port_state(0).pool.take());
    catch(&bench.kernel, &mut bench.port);
}

#[test]
#[should_panic(expected = "law 7: the bytes received are not the bytes sent")]
fn a_changed_byte_is_caught() {
    let mut bench = bench();
    bench.port.submit(token(1), Op::Recv { socket: bench.socket }).expect("one receive");
    let mut caught = Vec::new();
    bench.port.wait(&mut caught, None).expect("a simulated port does not break");
    while bench.kernel.borrow_mut().port_state(0).answers.is_empty() {
        bench.kernel.borrow_mut().advance();
    }
    if let Some(Answer::Op { raw: Raw::Data(buffer, _), .. }) =
        bench.kernel.borrow_mut().port_state(0).answers.front_mut()
    {
        buffer.bytes[0] = b'j';
    }
    catch(&bench.kernel, &mut bench.port);
}

#[test]
#[should_panic(expected = "law 7: two sends in flight")]
fn a_second_send_past_the_handle_table_is_caught() {
    let mut bench = bench();
    let op = Op::Send { socket: bench.socket, batch: batch(b"one") };
    bench.port.submit(token(1), op).expect("one send");
    let mut kernel = bench.kernel.borrow_mut();
    let key = kernel.port_state(0).names[&token(1)];
    kernel.net.live(bench.id).send_op = Some(key);
    kernel.flush(0);
}

#[test]
#[should_panic(expected = "law 4: a socket is closed under an operation in flight")]
fn a_close_under_a_receive_is_caught() {
    let mut bench = bench();
    bench.port.submit(token(1), Op::Recv { socket: bench.socket }).expect("one receive");
    let mut kernel = bench.kernel.borrow_mut();
    kernel.flush(0);
    kernel.close_target(Target::Stream(bench.id));
}

#[test]
fn a_wish_that_breaks_a_law_comes_back_whole() {
    let mut bench = bench();
    let socket = bench.socket;
    bench.port.submit(token(1), Op::Recv { socket }).expect("one receive");
    let why = |port: &mut SimPort, number, op| port.submit(token(number), op).expect_err("refused").why;
    assert_eq!(why(&mut bench.port, 1, Op::Timeout { at: Tick::ZERO }), SubmitErrorKind::TokenInUse);
    assert_eq!(why(&mut bench.port, 2, Op::Recv { socket }), SubmitErrorKind::Busy);
    assert_eq!(why(&mut bench.port, 2, Op::Close { handle: socket }), SubmitErrorKind::Busy);
    assert_eq!(why(&mut bench.port, 2, Op::Accept { listener: socket }), SubmitErrorKind::WrongKind);
    assert_eq!(why(&mut bench.port, 2, Op::Send { socket, batch: SendBatch::new() }), SubmitErrorKind::Empty);
    assert_eq!(bench.port.release(socket).expect_err("busy"), SubmitErrorKind::Busy);
    let stale = Handle::new(socket.slot(), socket.generation() + 1);
    let refused = bench.port.submit(token(2), Op::Send { socket: stale, batch: batch(b"kept") });
    let refused = refused.expect_err("stale");
    assert!(matches!(refused.op, Op::Send { batch, .. } if batch.bytes() == 4));
    assert_eq!(refused.why, SubmitErrorKind::StaleHandle);
}

#[test]
fn our_own_shutdown_aborts_the_receive_that_waits_for_a_buffer() {
    let mut bench = bench();
    let socket = bench.socket;
    let mut buffers = Vec::new();
    {
        let mut kernel = bench.kernel.borrow_mut();
        let state = kernel.port_state(0);
        buffers.extend(std::iter::from_fn(|| state.pool.take()));
        state.with_kernel += buffers.len();
    }
    bench.port.submit(token(1), Op::Recv { socket }).expect("one receive");
    let mut caught = Vec::new();
    while bench.port.ledger().starved == 0 {
        bench.port.wait(&mut caught, None).expect("a simulated port does not break");
        bench.kernel.borrow_mut().advance();
    }
    let op = Op::Shutdown { socket, how: ShutdownHow::Both };
    bench.port.submit(token(2), op).expect("one shutdown");
    assert!(matches!(catch(&bench.kernel, &mut bench.port).done, Done::Shutdown(Ok(()))));
    let last = catch(&bench.kernel, &mut bench.port);
    assert!(matches!(last.done, Done::Recv(Err(Ended::Aborted))) && !last.more);
    assert!(caught.is_empty());
    for buffer in buffers {
        bench.kernel.borrow_mut().port_state(0).with_kernel -= 1;
        bench.kernel.borrow_mut().port_state(0).pool.put(buffer);
    }
}

#[test]
fn a_dropped_port_leaves_nothing_behind() {
    let Bench { kernel, mut port, socket, .. } = bench();
    let file = port.open_file("deep".as_ref(), FileAccess::Create).expect("a fresh world has room");
    let any = "127.0.0.1:0".parse().expect("an address");
    let (datagram, _) = port.bind_datagram(any).expect("a fresh world has room");
    let ops = [
        Op::Recv { socket },
        Op::Send { socket, batch: batch(&[1; 100_000]) },
        Op::WriteAt { file, offset: 0, bytes: vec![1] },
        Op::RecvFrom { socket: datagram, buffer: vec![0; 8] },
        Op::Connect { remote: "127.0.0.1:9".parse().expect("an address") },
        Op::Timeout { at: Tick::MAX },
    ];
    for (number, op) in ops.into_iter().enumerate() {
        port.submit(token(number as u32 + 1), op).expect("accepted");
    }
    let mut caught = Vec::new();
    port.wait(&mut caught, None).expect("a simulated port does not break");
    kernel.borrow_mut().advance();
    let poster = port.poster();
    drop(port);
    assert!(!poster.post(token(0), 1), "the port is gone");
    assert_eq!(kernel.borrow().descriptors, 0);
    while kernel.borrow_mut().advance() {}
    assert_eq!((kernel.borrow().net.open(), kernel.borrow().peers.alive()), (0, 0));
}
