//! One contract for all models: whatever the model, a client sees the same server.
//!
//! Names are like `select::reset`. No test measures a time: waits have a limit only so that a server that never
//! answers fails the test instead of blocking it.

mod server;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use naksi_models::thread_record::{ThreadRecord, ThreadWork};
use naksi_models::{Ceiling, Model, Site};
use server::{PATIENCE, Server, client, exchange, pattern};
use socket2::SockRef;

macro_rules! contract {
    ($($model:ident),*) => {$(
        mod $model {
            fn model() -> &'static naksi_models::Model {
                naksi_models::model(stringify!($model)).expect("the model exists")
            }
            contract!(@ split_writes, many_frames_in_one_read, half_close, reset, sixty_fifth_socket,
                slow_reader, thousand_connects);
        }
    )*};
    (@ $($case:ident),*) => {$(
        #[test]
        fn $case() {
            super::$case(model());
        }
    )*};
}

contract!(
    thread_per_client,
    select,
    async_select,
    event_select,
    overlapped_event,
    overlapped_routine,
    completion_port
);

/// The limits of Windows, met on every system: 64 places in a set, 64 events in a wait.
#[test]
fn the_limits_of_windows_are_met_where_they_are_asked_for() {
    for (name, served, groups) in [("select", 63, 0), ("event_select", 100, 2), ("overlapped_event", 100, 2)]
    {
        let mut site = Site::default();
        (site.sockets_max, site.events_max) = (64, 64);
        let server = Server::start(naksi_models::model(name).expect("the model exists"), site);
        let mut clients: Vec<TcpStream> = (0..100).map(|_| client(server.address)).collect();
        wait("accepted", 100, || server.site.accepted());
        for (number, client) in clients[..served].iter_mut().enumerate() {
            exchange(client, &pattern(100, number));
        }
        let turned_away = 100 - served as u64;
        assert_eq!((server.site.turned_away(), server.site.groups()), (turned_away, groups), "{name}");
    }
}

/// While one handler blocks, a thread that serves all clients serves none of them; the port's other workers go on.
#[test]
fn a_handler_that_blocks_holds_up_one_worker_of_a_port_and_all_clients_of_one_thread() {
    const BLOCKS: Duration = Duration::from_millis(20);
    const CLIENTS: usize = 8;
    let took = |name: &str| {
        let mut site = Site::default();
        (site.blocks, site.workers) = (BLOCKS, CLIENTS);
        let server = Server::start(naksi_models::model(name).expect("the model exists"), site);
        let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| client(server.address)).collect();
        let started = Instant::now();
        for client in &mut clients {
            client.write_all(b"bait").expect("it is sent");
        }
        for client in &mut clients {
            client.read_exact(&mut [0; 4]).expect("the echo arrives");
        }
        started.elapsed()
    };
    // A sleep is never shorter than requested, so one thread needs all of them one after the other.
    assert!(took("overlapped_routine") >= BLOCKS * CLIENTS as u32);
    if naksi_models::is_wine() {
        return; // Wine starts no worker for one that blocks.
    }
    // On a busy machine a worker may be late, but not in every one of so many tries.
    let port = (0..20).map(|_| took("completion_port")).min().expect("some tries");
    assert!(port < BLOCKS * CLIENTS as u32, "all workers waited for each other: {port:?}");
}

/// Which thread runs what: the record of every model, with the same clients.
#[test]
fn only_a_port_has_a_message_handled_by_another_thread_than_the_one_that_asked() {
    const CLIENTS: usize = 4;
    for model in &naksi_models::MODELS {
        let mut site = Site::default();
        (site.threads, site.workers) = (Some(ThreadRecord::default()), CLIENTS);
        let server = Server::start(model, site);
        let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| client(server.address)).collect();
        let (started, mut rounds) = (Instant::now(), 0);
        let record = || server.site.threads.as_ref().expect("it is recorded").work();
        let by_another = |record: &[ThreadWork]| record.iter().any(|work| work.asked_by_another > 0);
        while rounds < 3 || model.ceiling == Ceiling::Concurrency && !by_another(&record()) {
            assert!(started.elapsed() < PATIENCE, "one worker took every message of the port");
            for client in &mut clients {
                client.write_all(b"bait").expect("it is sent");
            }
            for client in &mut clients {
                client.read_exact(&mut [0; 4]).expect("the echo arrives");
            }
            rounds += 1;
        }
        let record = record();
        let (accepted, handled) = record
            .iter()
            .fold((0, 0), |(accepted, handled), work| (accepted + work.accepted, handled + work.handled));
        // A message may come in two pieces, each of which is handled.
        assert!(
            accepted == CLIENTS as u64 && handled >= (CLIENTS * rounds) as u64,
            "{}: {record:?}",
            model.name
        );
        let handlers = record.iter().filter(|work| work.handled > 0).count();
        match model.ceiling {
            Ceiling::Threads => assert_eq!(handlers, CLIENTS, "{}: {record:?}", model.name),
            Ceiling::Concurrency => assert!(handlers > 1, "{}: {record:?}", model.name),
            _ => assert_eq!(handlers, 1, "{}: {record:?}", model.name),
        }
        assert_eq!(by_another(&record), model.ceiling == Ceiling::Concurrency, "{}: {record:?}", model.name);
    }
}

/// A message cut at every byte comes back whole, and so does every byte sent alone.
fn split_writes(model: &'static Model) {
    let server = Server::start(model, Site::default());
    let mut client = client(server.address);
    let message = pattern(48, 1);
    for cut in 0..=message.len() {
        let (head, tail) = message.split_at(cut);
        client.write_all(head).expect("the head is sent");
        client.write_all(tail).expect("the tail is sent");
        let mut back = vec![0; message.len()];
        client.read_exact(&mut back).expect("the echo arrives");
        assert_eq!(back, message, "cut at {cut}");
    }
    for byte in &message {
        exchange(&mut client, &[*byte]);
    }
}

/// Many frames that lie in the socket together come back in order, whatever the size of the server's buffer.
fn many_frames_in_one_read(model: &'static Model) {
    let server = Server::start(model, Site::default());
    let mut client = client(server.address);
    for bytes in [4095, 4096, 4097, 8192, 60_000] {
        exchange(&mut client, &pattern(bytes, bytes));
    }
}

/// A client that shuts down its sending side still gets everything it is owed, and then the end.
fn half_close(model: &'static Model) {
    let server = Server::start(model, Site::default());
    for bytes in [0, 1, 4096, 20_000] {
        let mut client = client(server.address);
        let message = pattern(bytes, 7);
        client.write_all(&message).expect("the message is sent");
        client.shutdown(Shutdown::Write).expect("our direction ends");
        let mut back = Vec::new();
        client.read_to_end(&mut back).expect("the server ends its direction too");
        assert_eq!(back, message);
    }
    wait("sessions", 0, || server.site.sessions());
}

/// A client that resets its connection is gone, and no other client notices.
fn reset(model: &'static Model) {
    let server = Server::start(model, Site::default());
    let mut other = client(server.address);
    exchange(&mut other, b"before");
    for bytes in [0, 1, 5000] {
        let mut client = client(server.address);
        exchange(&mut client, b"hello");
        client.write_all(&pattern(bytes, 3)).expect("it is sent");
        // A close with a linger of zero is a reset, whatever is still on the way.
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("the option is there");
        drop(client);
        exchange(&mut other, b"meanwhile");
    }
    wait("sessions", 1, || server.site.sessions());
    exchange(&mut other, b"after");
}

/// Sixty-five clients at once: all are served, or the model turns away those that exceed its limit, and says so.
fn sixty_fifth_socket(model: &'static Model) {
    let server = Server::start(model, Site::default());
    let mut clients: Vec<TcpStream> = (0..65).map(|_| client(server.address)).collect();
    wait("accepted", 65, || server.site.accepted());
    // The listener takes a place in a set as well.
    let places = match model.ceiling {
        Ceiling::Sockets => (server.site.sockets_max - 1).min(65),
        _ => 65,
    };
    for round in 0..3 {
        for (number, client) in clients[..places].iter_mut().enumerate() {
            exchange(client, &pattern(100, number + round));
        }
    }
    for client in &mut clients[places..] {
        let ended = client.read(&mut [0; 16]);
        assert!(matches!(ended, Ok(0) | Err(_)), "who was turned away hears the end, not silence: {ended:?}");
    }
    assert_eq!(server.site.turned_away(), 65 - places as u64);
    drop(clients);
    wait("sessions", 0, || server.site.sessions());
}

/// A client that sends and does not read delays only itself, and loses nothing.
fn slow_reader(model: &'static Model) {
    const BYTES: usize = 12 << 20;
    let server = Server::start(model, Site::default());
    let mut slow = client(server.address);
    let mut quick = client(server.address);
    let mut writer = slow.try_clone().expect("a second handle");
    let sending =
        thread::spawn(move || writer.write_all(&pattern(BYTES, 5)).expect("all is taken in the end"));
    for number in 0..200 {
        exchange(&mut quick, &pattern(500, number));
    }
    let mut back = vec![0; BYTES];
    slow.read_exact(&mut back).expect("everything comes back");
    assert!(back == pattern(BYTES, 5), "in order");
    sending.join().expect("the writer ends");
    exchange(&mut quick, b"still here");
}

/// A thousand clients come and go, fifty at a time.
fn thousand_connects(model: &'static Model) {
    let server = Server::start(model, Site::default());
    for batch in 0..20 {
        let mut clients: Vec<TcpStream> = (0..50).map(|_| client(server.address)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            exchange(client, &pattern(64, batch + number));
        }
        // A model with 64 places has none for the next fifty before the last fifty have left.
        drop(clients);
        wait("sessions", 0, || server.site.sessions());
    }
    assert_eq!((server.site.accepted(), server.site.turned_away()), (1000, 0));
}

fn wait(what: &str, wanted: u64, value: impl Fn() -> u64) {
    let started = Instant::now();
    while value() != wanted {
        assert!(started.elapsed() < PATIENCE, "{what}: {} instead of {wanted}", value());
        thread::sleep(Duration::from_millis(1));
    }
}
