//! Broadcast: everybody, once, in the sender's order, over several workers.

use std::sync::{Arc, mpsc};

use naksi::engine::ServiceCore;
use naksi::engine::{Turn, Worker};
use naksi::session::Factory;
use naksi_os::OsPort;
use naksi_os::port::{ListenOptions, Port};

use super::*;

const JOIN: u16 = 1;
const SAY: u16 = 10;
const TELL_ME: u16 = 11;
const SAY_OTHERS: u16 = 12;
const LEAVE: u16 = 13;
const DIG: u16 = 14;

/// A chat room without names.
#[derive(Default)]
struct Member(Option<Topic>);

impl Session for Member {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        match (packet.id, &self.0) {
            (JOIN, _) => {
                let topic = c.topic(u64::from(packet.body[0]));
                c.join(&topic);
                c.send(packet.frame);
                self.0 = Some(topic);
            }
            (SAY, Some(topic)) => {
                c.broadcast(topic, packet.frame);
            }
            (SAY_OTHERS, Some(topic)) => {
                c.broadcast_others(topic, packet.frame);
            }
            (LEAVE, Some(topic)) => {
                c.leave(topic);
                c.send(packet.frame);
            }
            (TELL_ME, Some(topic)) => {
                c.broadcast(topic, packet.frame);
                c.send_packet(TELL_ME + 100, packet.body);
                c.broadcast(topic, packet.frame);
            }
            (DIG, _) => std::thread::sleep(Duration::from_millis(2)),
            _ => c.close(DisconnectReason::Protocol),
        }
    }
}

fn join(address: SocketAddr, topic: u8) -> TcpStream {
    let mut stream = connect(address);
    write(&mut stream, &frame(JOIN, &[topic]));
    assert_eq!(read(&mut stream, 5), frame(JOIN, &[topic]));
    stream
}

/// Queues that a few messages of a kilobyte fill.
fn small_queues() -> Limits {
    Limits {
        frame_bytes_max: 2048,
        send_queue_bytes_max: 16 * 1024,
        send_queue_high_bytes: 4096,
        send_queue_low_bytes: 1024,
        ..Limits::default()
    }
}

#[test]
fn every_member_on_every_worker_hears_every_sender_in_order() {
    for flush in [Flush::AtOnce, Flush::Every(Duration::from_millis(2))] {
        everybody_hears_everybody(flush);
    }
}

fn everybody_hears_everybody(flush: Flush) {
    let service = server().workers(3).flush(flush).session(Member::default).start().expect("a server");
    let address = service.addresses()[0];
    let mut members: Vec<_> = (0..24).map(|index| join(address, index % 2)).collect();
    let rounds = 50_u8;
    for round in 0..rounds {
        for (index, member) in members.iter_mut().enumerate() {
            write(member, &frame(SAY, &[index as u8, round]));
        }
    }
    for (index, member) in members.iter_mut().enumerate() {
        let mut next = [0_u8; 24];
        for _ in 0..12 * usize::from(rounds) {
            let heard = read(member, 6);
            let (sender, round) = (usize::from(heard[4]), heard[5]);
            assert_eq!(sender % 2, index % 2, "from another topic");
            assert_eq!(round, next[sender], "lost, doubled or out of order");
            next[sender] += 1;
        }
    }
    let stats = service.stats();
    assert_eq!(stats.deliveries, 24 * 12 * u64::from(rounds));
    assert!(stats.posts <= stats.broadcasts * 2, "at most one post for each other worker and batch");
    drop(members);
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!((stats.live, stats.connected_total), (0, stats.disconnected_total));
}

#[test]
fn what_is_sent_directly_keeps_its_place_between_broadcasts() {
    for flush in [Flush::AtOnce, Flush::Every(Duration::from_millis(2))] {
        let service = server().workers(1).flush(flush).session(Member::default).start().expect("a server");
        let address = service.addresses()[0];
        let mut sender = join(address, 1);
        let mut other = join(address, 1);
        write(&mut sender, &frame(TELL_ME, b"x"));
        let (told, direct) = (frame(TELL_ME, b"x"), frame(TELL_ME + 100, b"x"));
        assert_eq!(read(&mut sender, 15), [told.clone(), direct, told.clone()].concat());
        assert_eq!(read(&mut other, 10), [told.clone(), told].concat());
    }
}

#[test]
fn the_others_hear_it_and_a_newcomer_and_a_leaver_only_their_part() {
    let service = server().workers(1).session(Member::default).start().expect("a server");
    let address = service.addresses()[0];
    let mut sender = join(address, 7);
    let mut other = join(address, 7);
    // One write, so that everything happens in one turn of the worker.
    let burst = [frame(SAY_OTHERS, b"a"), frame(SAY, b"b"), frame(LEAVE, b""), frame(SAY, b"c")].concat();
    write(&mut sender, &burst);
    assert_eq!(read(&mut sender, 9), [frame(SAY, b"b"), frame(LEAVE, b"")].concat());
    let heard = [frame(SAY_OTHERS, b"a"), frame(SAY, b"b"), frame(SAY, b"c")].concat();
    assert_eq!(read(&mut other, 15), heard);
    let mut newcomer = join(address, 7);
    write(&mut other, &frame(SAY, b"d"));
    assert_eq!(read(&mut newcomer, 5), frame(SAY, b"d"));
}

#[test]
fn what_is_for_the_others_does_not_come_back_however_long_it_is() {
    let limits = Limits { frame_bytes_max: 65_535, ..Limits::default() };
    let service = server().workers(1).limits(limits).session(Member::default).start().expect("a server");
    let address = service.addresses()[0];
    let mut sender = join(address, 1);
    let mut other = join(address, 1);
    let long = frame(SAY_OTHERS, &[7; 40_000]);
    write(&mut sender, &[long.clone(), frame(SAY, b"b")].concat());
    assert_eq!(read(&mut sender, 5), frame(SAY, b"b"));
    assert_eq!(read(&mut other, long.len() + 5), [long, frame(SAY, b"b")].concat());
}

#[test]
fn a_peer_that_says_its_end_at_once_still_hears_what_it_broadcast() {
    let mut port = open_port();
    let any = "127.0.0.1:0".parse().expect("an address");
    let (listener, address) = port.listen(any, &ListenOptions::default()).expect("a listener");
    let service_core = Arc::new(ServiceCore::new(1, Limits::default()));
    let mut worker =
        Worker::new(0, port, Arc::clone(&service_core), Arc::new(|_: &ConnectionInfo| Member::default()));
    worker.add_listener(listener);
    service_core.begin();
    // Everything is sent before the worker's first read, so the data and its end arrive together.
    let mut client = connect(address);
    let said = [frame(JOIN, &[1]), frame(SAY, b"last words")].concat();
    write(&mut client, &said);
    client.shutdown(std::net::Shutdown::Write).expect("a live socket");
    while service_core.stats().disconnected_total == 0 || worker.sessions() > 0 {
        worker.turn().expect("the port works");
    }
    assert_eq!(read_to_end(&mut client), said);
}

#[test]
fn a_small_send_queue_loses_nothing_that_is_broadcast() {
    for kind in [SAY, SAY_OTHERS] {
        nothing_is_lost(kind);
    }
}

fn nothing_is_lost(kind: u16) {
    let service =
        server().workers(1).limits(small_queues()).session(Member::default).start().expect("a server");
    let address = service.addresses()[0];
    let (mut sender, mut other) = (join(address, 1), join(address, 1));
    let said: Vec<u8> = (0..30).flat_map(|number| frame(kind, &[number; 1000])).collect();
    write(&mut sender, &said);
    assert_eq!(read(&mut other, said.len()), said);
    if kind == SAY {
        assert_eq!(read(&mut sender, said.len()), said);
    }
    assert_eq!(service.stats().dropped, 0);
}

/// A client sends more than the worker can process, until the others have received each other's messages.
#[test]
fn what_is_said_is_heard_while_somebody_floods() {
    let service = server().workers(1).session(Member::default).start().expect("a server");
    let address = service.addresses()[0];
    let (mut speaker, mut listener) = (join(address, 1), join(address, 1));
    let flooder = connect(address);
    let mut flood = flooder.try_clone().expect("a second handle");
    let digging = std::thread::spawn(move || {
        let many = frame(DIG, &[0; 1000]).repeat(64);
        // It ends when the socket does.
        while flood.write_all(&many).is_ok() {}
    });
    until("it is flooded", || service.stats().recv_backlog_bytes > 0);
    for round in 0..5 {
        write(&mut speaker, &frame(SAY, &[round]));
        assert_eq!(read(&mut listener, 5), frame(SAY, &[round]));
    }
    flooder.shutdown(std::net::Shutdown::Both).expect("it is open");
    digging.join().expect("it does not panic");
    drop((flooder, speaker, listener));
    service.stop(Duration::from_secs(5));
}

/// Broadcasts what it receives to the others, and passes the service's handle to the test.
struct Herald(mpsc::Sender<ServiceHandle>);

impl Session for Herald {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.join(&c.topic(1));
        self.0.send(c.handle()).expect("the test listens");
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        c.broadcast_others(&c.topic(1), packet.frame);
    }
}

/// Two workers that the test steps, so that one of them can stand still. Connections go to them alternately.
struct Pair<F: Factory> {
    service_core: Arc<ServiceCore<OsPort>>,
    first: Worker<OsPort, F>,
    second: Worker<OsPort, F>,
    address: SocketAddr,
    /// Where the service of each session is.
    service: mpsc::Receiver<ServiceHandle>,
}

fn pair() -> Pair<impl Factory<Session = Herald>> {
    pair_with(Flush::AtOnce)
}

fn pair_with(flush: Flush) -> Pair<impl Factory<Session = Herald>> {
    let mut port = open_port();
    let any = "127.0.0.1:0".parse().expect("an address");
    let (listener, address) = port.listen(any, &ListenOptions::default()).expect("a listener");
    let service_core = Arc::new(ServiceCore::new(2, small_queues()).with_flush(flush));
    let (doors, service) = mpsc::channel();
    let factory = Arc::new(move |_: &ConnectionInfo| Herald(doors.clone()));
    let mut first = Worker::new(0, port, Arc::clone(&service_core), Arc::clone(&factory));
    let mut second = Worker::new(1, open_port(), Arc::clone(&service_core), factory);
    first.add_listener(listener);
    service_core.begin();
    second.turn().expect("the port works");
    Pair { service_core, first, second, address, service }
}

impl<F: Factory> Pair<F> {
    /// A member on the first worker.
    fn connect_to_first(&mut self) -> TcpStream {
        let (stream, before) = (connect(self.address), self.first.sessions());
        while self.first.sessions() == before {
            self.first.turn().expect("the port works");
        }
        stream
    }

    /// A member on the second worker.
    fn connect_to_second(&mut self) -> TcpStream {
        let (stream, before) = (connect(self.address), self.second.sessions());
        while self.service_core.in_mailboxes() == 0 {
            self.first.turn().expect("the port works");
        }
        while self.second.sessions() == before {
            self.second.turn().expect("the port works");
        }
        stream
    }

    /// Fills the mailbox of the second worker, which is not stepped. Returns a handle of the service.
    fn fill_second(&self) -> ServiceHandle {
        let remote = self.service.recv().expect("a session has begun");
        let (unknown, much) = (SessionId::new(1, 9999, 0), Bytes::from(vec![0; 16 * 1024]));
        while remote.send(unknown, much.clone()).is_ok() {}
        remote
    }

    /// One turn of each worker, in which neither blocks, because a message to a nonexistent session is posted.
    fn turn_both(&mut self, remote: &ServiceHandle) {
        for worker in 0..2 {
            let unknown = SessionId::new(worker, 9999, 0);
            remote.send(unknown, Bytes::new()).expect("there is room");
            let turned = if worker == 0 { self.first.turn() } else { self.second.turn() };
            turned.expect("the port works");
        }
    }

    fn drain_second(&mut self) {
        while self.service_core.in_mailboxes() > 0 {
            self.second.turn().expect("the port works");
        }
    }
}

#[test]
fn whoever_fills_a_batch_that_another_worker_has_no_room_for_is_shown_its_rest_later() {
    const SAID: u64 = 40;
    let mut pair = pair();
    let mut sender = pair.connect_to_first();
    let _member = pair.connect_to_second();
    pair.fill_second();
    write(&mut sender, &frame(SAY, &[7; 1000]).repeat(SAID as usize));
    while pair.service_core.stats().dropped == 0 {
        pair.first.turn().expect("the port works");
    }
    assert_eq!(pair.service_core.stats().dropped, 1, "and then it rests");
    pair.drain_second();
    while pair.service_core.stats().packets < SAID {
        pair.first.turn().expect("the port works");
    }
    let dropped = pair.service_core.stats().dropped;
    assert!(dropped <= 2, "one more before the batch has left: {dropped}");
}

#[test]
fn a_worker_that_has_no_room_for_a_batch_hears_it_later_and_keeps_it_from_nobody_else() {
    let mut pair = pair();
    let mut sender = pair.connect_to_first();
    let mut far = pair.connect_to_second();
    let mut near = pair.connect_to_first();
    let remote = pair.fill_second();
    let mut said = Vec::new();
    for number in 0..3 {
        let words = frame(SAY, &[number; 1000]);
        write(&mut sender, &words);
        until("it is heard on the worker that has room", || {
            pair.first.turn().expect("the port works");
            pair.service_core.stats().sent_bytes >= (said.len() + words.len()) as u64
        });
        said.extend_from_slice(&words);
    }
    assert_eq!(read(&mut near, said.len()), said);
    pair.drain_second();
    // What is broadcast from now on is queued after the other worker's backlog.
    let last = frame(SAY, b"last");
    write(&mut sender, &last);
    said.extend_from_slice(&last);
    until("everybody has heard everything", || {
        pair.turn_both(&remote);
        pair.service_core.stats().sent_bytes == 2 * said.len() as u64
    });
    assert_eq!((read(&mut near, last.len()), read(&mut far, said.len())), (last, said));
    assert_eq!((pair.service_core.stats().deliveries, pair.service_core.stats().dropped), (2 * 4, 0));
}

#[test]
fn what_waits_for_its_tick_reaches_the_members_on_all_workers_before_a_drain_says_goodbye() {
    // A tick that is unlikely to come while the test runs: broadcasts wait for it.
    let mut pair = pair_with(Flush::Every(Duration::from_millis(100)));
    let mut sender = pair.connect_to_first();
    let mut far = pair.connect_to_second();
    let mut near = pair.connect_to_first();
    let words = frame(SAY, b"the last words");
    write(&mut sender, &words);
    until("it is said", || {
        pair.first.turn().expect("the port works");
        pair.service_core.stats().packets > 0
    });
    pair.service_core.drain(Duration::from_secs(10));
    // The worker with the broadcast is the first to begin the drain.
    while pair.service_core.stats().broadcasts == 0 {
        pair.first.turn().expect("the port works");
    }
    let ends = std::thread::spawn(move || {
        let heard = [&mut far, &mut near].map(|member| {
            let mut heard = Vec::new();
            member.read_to_end(&mut heard).expect("it ends in order");
            heard
        });
        drop(sender);
        heard
    });
    while pair.second.turn().expect("the port works") == Turn::Going {}
    while pair.first.turn().expect("the port works") == Turn::Going {}
    assert_eq!(ends.join().expect("they read"), [words.clone(), words]);
}

#[test]
fn members_end_with_lagged_when_their_worker_lacks_more_than_may_be_owed() {
    const SAID: u64 = 40;
    let mut pair = pair();
    let mut sender = pair.connect_to_first();
    let mut far = pair.connect_to_second();
    let mut near = pair.connect_to_first();
    let remote = pair.fill_second();
    for number in 0..SAID {
        let words = frame(SAY, &[number as u8; 1000]);
        write(&mut sender, &words);
        until("it is heard on the worker that has room", || {
            pair.first.turn().expect("the port works");
            pair.service_core.stats().deliveries > number
        });
        until("it has left", || {
            pair.first.turn().expect("the port works");
            pair.service_core.stats().sent_bytes == (number + 1) * 1004
        });
        assert_eq!(read(&mut near, words.len()), words);
    }
    let dropped = pair.service_core.stats().dropped;
    assert_eq!(dropped, SAID - 16, "a send queue's worth is kept for it");
    pair.drain_second();
    until("what is kept has come, and then its end", || {
        pair.turn_both(&remote);
        pair.service_core.stats().ended.get("lagged") == Some(&1)
    });
    assert_eq!(pair.service_core.stats().deliveries, SAID + 16);
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).expect("it ends in order");
    let kept: Vec<u8> = (0..16).flat_map(|number| frame(SAY, &[number; 1000])).collect();
    assert_eq!(heard, kept, "nothing is missing between what it heard");
    drop(far);
    until("its session is over", || {
        pair.turn_both(&remote);
        pair.second.sessions() == 0
    });
    // Others continue to receive, and a later member receives what is broadcast from then on.
    let mut later = pair.connect_to_second();
    let (last, sent) = (frame(SAY, b"last"), pair.service_core.stats().sent_bytes);
    write(&mut sender, &last);
    until("it has left both workers", || {
        pair.turn_both(&remote);
        pair.service_core.stats().sent_bytes == sent + 2 * last.len() as u64
    });
    assert_eq!((read(&mut near, last.len()), read(&mut later, last.len())), (last.clone(), last));
}

#[test]
fn deliveries_are_the_messages_that_members_were_queued_and_no_others() {
    let service = server().workers(1).session(Member::default).start().expect("a server");
    let address = service.addresses()[0];
    let (mut sender, mut other) = (join(address, 7), join(address, 7));
    // One write, so that all of it is in one batch, during which the sender leaves and joins again.
    let others: Vec<u8> = [b"a", b"b"].into_iter().flat_map(|body| frame(SAY_OTHERS, body)).collect();
    let both = frame(SAY, b"c");
    let left = [frame(LEAVE, b""), frame(SAY, b"d"), frame(JOIN, &[7])].concat();
    write(&mut sender, &[others.clone(), both.clone(), left].concat());
    let own = [both.clone(), frame(LEAVE, b""), frame(JOIN, &[7])].concat();
    assert_eq!(read(&mut sender, own.len()), own);
    assert_eq!(read(&mut other, 20), [others, both, frame(SAY, b"d")].concat());
    assert_eq!(service.stats().deliveries, 4 + 1);
    // What is sent directly takes the batch's beginning with it.
    write(&mut other, &frame(TELL_ME, b"x"));
    read(&mut sender, 10);
    read(&mut other, 15);
    assert_eq!(service.stats().deliveries, 5 + 2 * 2);
}

#[test]
fn what_a_member_has_no_room_for_is_no_delivery() {
    const SAID: u64 = 2000;
    let limits = Limits { kernel_send_bytes_max: 4096, overflow: Overflow::DropNew, ..small_queues() };
    let service = server().workers(1).limits(limits).session(Member::default).start().expect("a server");
    let address = service.addresses()[0];
    let (mut sender, mut slow) = (join(address, 1), join(address, 1));
    write(&mut sender, &frame(SAY_OTHERS, &[7; 1000]).repeat(SAID as usize));
    until("all of it is said", || service.stats().packets == 2 + SAID);
    // Its answer comes behind whatever was queued before.
    write(&mut slow, &frame(LEAVE, b""));
    let mut heard = 0;
    while read(&mut slow, 4) != frame(LEAVE, b"") {
        assert_eq!(read(&mut slow, 1000), [7; 1000]);
        heard += 1;
    }
    assert!((1..SAID).contains(&heard), "it was slow, and heard {heard} of {SAID}");
    assert_eq!(service.stats().deliveries, heard);
    drop((sender, slow));
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!(stats.dropped, SAID - heard, "each message, though many of them were one piece");
}
