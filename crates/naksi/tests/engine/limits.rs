//! Tests of the limits: invalid sizes, silence, slow readers, too many sessions; each ends with its reason and
//! affects no other session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Frames come back as they came.
struct FrameEcho;

impl Session for FrameEcho {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        c.send(packet.frame);
    }
}

fn quick() -> Limits {
    Limits {
        first_frame_within: Duration::from_millis(150),
        frame_within: Duration::from_millis(150),
        ..Limits::default()
    }
}

#[test]
fn a_first_frame_with_a_long_token_is_served_by_default_up_to_4_kib() {
    let service = server().workers(1).session(|| FrameEcho).start().expect("a server");
    let address = service.addresses()[0];
    for body in [1_200, 4_092] {
        let login = frame(1, &vec![7; body]);
        let mut player = connect(address);
        write(&mut player, &login);
        assert_eq!(read(&mut player, login.len()), login);
        // And from then on frames of up to 16 KiB.
        let long = frame(2, &[7; 16 * 1024 - 4]);
        write(&mut player, &long);
        assert_eq!(read(&mut player, long.len()), long);
    }
    let mut stranger = connect(address);
    write(&mut stranger, &frame(1, &[7; 4_093]));
    assert_eq!(read_to_end(&mut stranger), b"");
    until("it is counted", || service.stats().ended.get("frame_too_long") == Some(&1));
}

#[test]
fn bad_frames_end_with_their_reason_and_the_others_go_on() {
    let service = server().workers(1).limits(quick()).session(|| FrameEcho).start().expect("a server");
    let address = service.addresses()[0];
    let mut good = connect(address);
    write(&mut good, &frame(1, b"first"));
    read(&mut good, 9);
    let cases: [(&[u8], &str); 6] = [
        (&[0, 0], "frame_too_short"),
        (&[1, 0], "frame_too_short"),
        (&[3, 0, 1, 0], "frame_too_short"),
        (&[255, 255], "frame_too_long"),
        (&[10], "first_frame_late"),
        (&[], "first_frame_late"),
    ];
    for (round, (bytes, reason)) in cases.into_iter().enumerate() {
        let before = service.stats().ended.get(reason).copied().unwrap_or(0);
        let mut bad = connect(address);
        write(&mut bad, bytes);
        assert_eq!(read_to_end(&mut bad), b"", "case {round}");
        until(reason, || service.stats().ended.get(reason) == Some(&(before + 1)));
        write(&mut good, &frame(2, &[round as u8]));
        assert_eq!(read(&mut good, 5), frame(2, &[round as u8]));
    }
    let mut dribbler = connect(address);
    write(&mut dribbler, &frame(1, b""));
    read(&mut dribbler, 4);
    let dribble = frame(1, &[0; 900]);
    for byte in dribble {
        if dribbler.write_all(&[byte]).is_err() || service.stats().ended.contains_key("frame_late") {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    until("the dribbler ends", || service.stats().ended.get("frame_late") == Some(&1));
    write(&mut good, &frame(3, b"still here"));
    assert_eq!(read(&mut good, 14), frame(3, b"still here"));
}

#[test]
fn a_flood_is_held_back_or_ended_as_the_limits_say_and_loses_nothing() {
    let limits = |rate_limit_action| Limits { messages_per_second_max: 40, rate_limit_action, ..quick() };
    let paces = server().workers(1).limits(limits(RateLimitAction::Pause)).session(|| FrameEcho).start();
    let paces = paces.expect("a server");
    let mut flooder = connect(paces.addresses()[0]);
    let flood: Vec<u8> = (0..60).flat_map(|number| frame(number, b"now")).collect();
    write(&mut flooder, &flood);
    assert_eq!(read(&mut flooder, flood.len()), flood);
    assert!(paces.stats().rate_limited_total > 0);
    let ends = server().workers(1).limits(limits(RateLimitAction::EndSession)).session(|| FrameEcho).start();
    let ends = ends.expect("a server");
    write(&mut connect(ends.addresses()[0]), &flood);
    until("the flooder ends", || ends.stats().ended.get("rate_exceeded") == Some(&1));
}

/// Joins a topic at once; each message causes a broadcast of a kilobyte.
#[derive(Default)]
struct Loud;

impl Session for Loud {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        let topic = c.topic(0);
        c.join(&topic);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let topic = c.topic(0);
        c.broadcast(&topic, &[1; 1024]);
        data.len()
    }
}

#[test]
fn a_reader_that_stops_is_ended_and_the_others_hear_everything() {
    for (overflow, kicked) in [(Overflow::EndSession, 1), (Overflow::DropNew, 0)] {
        let limits = Limits { overflow, ..Limits::default() };
        let options =
            naksi_os::port::ListenOptions { kernel_send_bytes: Some(16 * 1024), ..Default::default() };
        let service = server()
            .workers(1)
            .limits(limits)
            .listen_options(options)
            .session(Loud::default)
            .start()
            .expect("a server");
        let address = service.addresses()[0];
        let stalled = connect(address);
        let mut healthy = connect(address);
        until("both are in", || service.stats().live == 2);
        let rounds = 12_000;
        for _ in 0..rounds {
            write(&mut healthy, b"x");
            read(&mut healthy, 1024);
        }
        let stats = service.stats();
        assert_eq!(stats.ended.get("send_queue_full").copied().unwrap_or(0), kicked);
        assert_eq!(stats.live, 2 - kicked);
        assert_eq!(stats.dropped > 0, kicked == 0, "{} dropped, said while it happens", stats.dropped);
        drop(stalled);
        drop(healthy);
        until("both are gone", || service.stats().live == 0);
        service.stop(Duration::from_secs(5));
    }
}

/// An echo; a session that sends "S" holds the worker until it is released.
struct Holder(Arc<(AtomicBool, AtomicBool)>);

const SILENCE_MAX: Duration = Duration::from_millis(400);

impl Session for Holder {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        if data == b"S" {
            let (is_held, may_go) = &*self.0;
            is_held.store(true, Ordering::Release);
            until("the callback may go on", || may_go.load(Ordering::Acquire));
        }
        c.send(data);
        data.len()
    }
}

#[test]
fn a_silent_peer_ends_in_time_while_slow_callbacks_are_shown_much() {
    /// Takes its time for every packet.
    struct Slow;
    impl Session for Slow {
        const FRAMING: Framing = Framing::Packets;

        fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
            std::thread::sleep(Duration::from_millis(12));
            c.send(packet.frame);
        }
    }
    const SAID: usize = 2_000;
    let limits = Limits { first_frame_within: Duration::from_millis(500), ..Limits::default() };
    let service = server().workers(1).limits(limits).session(|| Slow).start().expect("a server");
    let address = service.addresses()[0];
    // More than half a minute of callbacks for each, all of which arrive at once.
    let mut talkers = [connect(address), connect(address)];
    talkers.iter_mut().for_each(|talker| write(talker, &frame(1, b"x").repeat(SAID)));
    until("both are listened to", || service.stats().packets > 2);
    let silent: Vec<_> = (0..5).map(|_| connect(address)).collect();
    until("the silent ones end", || service.stats().ended.get("first_frame_late") == Some(&5));
    let stats = service.stats();
    assert!(stats.packets < SAID as u64, "they outlived {} packets", stats.packets);
    until("their sockets are closed", || service.stats().live == 2);
    assert_eq!(service.stats().ended.len(), 1, "who says something goes on: {:?}", service.stats().ended);
    drop((silent, talkers));
    service.stop(Duration::from_secs(1));
}

#[test]
fn nobody_is_late_while_a_callback_holds_the_worker() {
    let limits = Limits { idle_within: SILENCE_MAX, ..Limits::default() };
    // A wait returns fewer completions than there are, as with thousands of sessions.
    let options = PortOptions { catch_max: 4, ..Default::default() };
    // Before it holds the worker, a session may be late because the machine itself is stalled: then the test is
    // repeated.
    for _ in 0..10 {
        let hold = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
        let its = Arc::clone(&hold);
        let service = server()
            .workers(1)
            .limits(limits.clone())
            .port_options(options.clone())
            .session(move || Holder(Arc::clone(&its)))
            .start()
            .expect("a server");
        let address = service.addresses()[0];
        let mut all: Vec<_> = (0..41).map(|_| connect(address)).collect();
        until("all have come", || service.stats().connected_total == 41);
        write(&mut all[0], b"S");
        until("it is held, or too late", || {
            hold.0.load(Ordering::Acquire) || service.stats().ended.contains_key("idle")
        });
        if service.stats().ended.contains_key("idle") {
            hold.1.store(true, Ordering::Release);
            continue;
        }
        // While it is held, all sessions send, in time or not: nothing is received.
        for stream in &mut all {
            write(stream, b"x");
        }
        std::thread::sleep(2 * SILENCE_MAX);
        hold.1.store(true, Ordering::Release);
        assert_eq!(read(&mut all[0], 2), b"Sx");
        for other in &mut all[1..] {
            assert_eq!(read(other, 1), b"x");
        }
        until("silent sessions end all the same", || service.stats().ended.get("idle") == Some(&41));
        return;
    }
    panic!("the machine never let forty-one say something within {SILENCE_MAX:?}");
}

#[test]
fn bytes_are_counted_when_they_are_taken_and_not_each_time_they_are_offered() {
    /// Waits for eight bytes.
    struct Eight;
    impl Session for Eight {
        fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
            if data.len() < 8 {
                return 0;
            }
            c.send(&data[..8]);
            8
        }
    }
    let service = server().workers(1).session(|| Eight).start().expect("a server");
    let mut client = connect(service.addresses()[0]);
    for _ in 0..8 {
        let turns = service.stats().turns;
        write(&mut client, b"x");
        until("it has come alone", || service.stats().turns > turns);
    }
    assert_eq!(read(&mut client, 8), b"xxxxxxxx");
    assert_eq!(service.stats().recv_bytes, 8);
}

#[test]
fn a_full_service_and_a_greedy_address_are_refused_at_the_door() {
    let full = Limits { sessions_max: 2, ..Limits::default() };
    let greedy = Limits { connections_per_address_max: 2, loopback_exempt: false, ..Limits::default() };
    for (limits, is_full) in [(full, true), (greedy, false)] {
        let service = server().workers(1).limits(limits).session(|| Echo).start().expect("a server");
        let address = service.addresses()[0];
        let mut first = connect(address);
        let second = connect(address);
        until("two are in", || service.stats().live == 2);
        assert_eq!(read_to_end(&mut connect(address)), b"");
        let stats = service.stats();
        let refused = (stats.refused_full_total, stats.refused_address_total);
        assert_eq!(refused, if is_full { (1, 0) } else { (0, 1) });
        write(&mut first, b"still here");
        assert_eq!(read(&mut first, 10), b"still here");
        drop(second);
        until("there is room again", || service.stats().live == 1);
        let mut third = connect(address);
        write(&mut third, b"x");
        assert_eq!(read(&mut third, 1), b"x");
    }
}

#[test]
fn a_service_that_makes_no_sense_says_so() {
    let crossed = Limits { send_queue_low_bytes: 1 << 30, ..Limits::default() };
    let error = server().limits(crossed).session(|| Echo).start().expect_err("refused");
    assert!(error.to_string().contains("send_queue_low_bytes"), "{error}");
    let error = server().workers(0).session(|| Echo).start().expect_err("refused");
    assert!(error.to_string().contains("workers"), "{error}");
    let taken = server().session(|| Echo).start().expect("a server");
    let error = Server::new()
        .backend(backend())
        .listen(taken.addresses()[0])
        .session(|| Echo)
        .start()
        .expect_err("taken");
    assert!(error.to_string().contains("address already in use"), "{error}");
    let error =
        Server::new().backend(backend()).listen("nowhere").session(|| Echo).start().expect_err("refused");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// Takes nothing of what it is shown.
struct Refuser;

impl Session for Refuser {
    fn on_recv(&mut self, _: &mut Conn<'_>, _: &[u8]) -> usize {
        0
    }
}

#[test]
fn what_nobody_takes_is_kept_up_to_its_limit_and_what_nobody_says_up_to_its_time() {
    let limits = Limits { recv_backlog_bytes_max: 64 * 1024, ..Limits::default() };
    let service = server().workers(1).limits(limits).session(|| Refuser).start().expect("a server");
    let mut stream = connect(service.addresses()[0]);
    // The server resets it in the middle of this.
    stream.write_all(&vec![7; 4 << 20]).ok();
    until("it ends", || service.stats().ended.get("recv_backlog_full") == Some(&1));
    until("what was kept is let go", || service.stats().recv_backlog_bytes == 0);

    let limits = Limits { idle_within: Duration::from_millis(100), ..Limits::default() };
    let service = server().workers(1).limits(limits).session(|| Echo).start().expect("a server");
    assert_eq!(read_to_end(&mut connect(service.addresses()[0])), b"");
    until("it is counted", || service.stats().ended.get("idle") == Some(&1));
}

#[test]
fn more_than_may_come_in_a_second_are_refused_at_the_door_and_counted() {
    let limits = Limits { accepts_per_second_max: 1, loopback_exempt: false, ..Limits::default() };
    let service = server().workers(1).limits(limits).session(|| Echo).start().expect("a server");
    let address = service.addresses()[0];
    let mut first = connect(address);
    // However slow the machine is, at some time two connections will be there at once.
    until("a connection is refused", || {
        drop((connect(address), connect(address)));
        service.stats().refused_rate_total > 0
    });
    write(&mut first, b"still here");
    assert_eq!(read(&mut first, 10), b"still here");
}

/// Bytes come back as they came.
struct BytesEcho;

impl Session for BytesEcho {
    fn on_recv(&mut self, c: &mut Conn<'_>, bytes: &[u8]) -> usize {
        c.send(bytes);
        bytes.len()
    }
}

#[test]
fn what_the_kernel_keeps_for_a_peer_that_does_not_read_has_an_end() {
    let limits =
        Limits { kernel_send_bytes_max: 16 * 1024, kernel_recv_bytes_max: 16 * 1024, ..Limits::default() };
    let service = server().workers(1).limits(limits).session(|| BytesEcho).start().expect("a server");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.set_send_buffer_size(16 * 1024).expect("a small buffer");
    socket.connect(&service.addresses()[0].into()).expect("a server");
    socket.set_nonblocking(true).expect("a socket that does not block");
    let (mut taken_bytes, mut refused) = (0, 0);
    // Refused for half a second on end: nothing moves any more.
    while refused < 50 && taken_bytes < 64 << 20 {
        match socket.send(&[7; 8192]) {
            Ok(count) => (taken_bytes, refused) = (taken_bytes + count, 0),
            Err(_) => {
                refused += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    // Both ends' buffers, each doubled by the system, and the server's own queue up to its mark.
    assert!((64 * 1024..512 * 1024).contains(&taken_bytes), "{taken_bytes} bytes were taken");
}

/// Sends much at once to each new session.
struct Talker;

const TALKED_BYTES: usize = 1 << 20;

impl Session for Talker {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        for _ in 0..TALKED_BYTES / 32_768 {
            c.send(&[7; 32_768]);
        }
    }
}

/// A slow line is not a stall: progress within a long batch counts, not only the whole of it.
#[test]
fn who_takes_what_is_sent_slowly_is_not_ended_for_a_stall() {
    let limits = Limits {
        kernel_send_bytes_max: 16 * 1024,
        send_queue_bytes_max: 2 << 20,
        send_stall_within: Duration::from_secs(2),
        ..Limits::default()
    };
    let service = server().workers(1).limits(limits).session(|| Talker).start().expect("a server");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
    socket.connect(&service.addresses()[0].into()).expect("a server");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    let (mut taken_bytes, mut some) = (0, [0; 16 * 1024]);
    while taken_bytes < TALKED_BYTES {
        let bytes = stream.read(&mut some).expect("it is still served");
        assert_ne!(bytes, 0, "ended after {taken_bytes} bytes: {:?}", service.stats().ended);
        taken_bytes += bytes;
        std::thread::sleep(Duration::from_millis(60));
    }
}
