//! The facts of the lectures as tests, each of which fails if the fact is wrong.
//!
//! They call the functions below the models directly. Two facts are in the types and are shown by examples that do
//! not compile, in the documentation of `naksi_os::routine`: AcceptEx takes no routine, and a queue of routines
//! cannot leave its thread.

mod server;

use std::cell::RefCell;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use naksi_models::{Site, model};
use naksi_os::completion_port::{CompletionPort, Packet};
use naksi_os::connection::{Completed, Connection, Started, Verb};
use naksi_os::event::{Event, WaitSet};
use naksi_os::overlapped::{Overlapped, Requests};
use naksi_os::routine::{Alertable, Routines, Woken};
use naksi_os::select::{SOCKETS_MAX, SocketSet, select};
use naksi_os::syscall_counter::SyscallCounter;
use server::{Server, client, exchange, pattern};

/// Some facts need all the descriptors below 1,024, so these tests run one at a time.
static TURNS: Mutex<()> = Mutex::new(());

fn turn() -> impl Drop {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two ends of one connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let near = TcpStream::connect(listener.local_addr().expect("its address")).expect("it listens");
    let (far, _) = listener.accept().expect("it has come");
    near.set_nodelay(true).expect("the option is there");
    (near, far)
}

/// A connection with unread bytes, and the peer that sent them.
fn fed<S>(session: S) -> (Connection<S>, TcpStream) {
    let (mut near, far) = pair();
    near.write_all(b"bait").expect("it is sent");
    far.peek(&mut [0]).expect("it is there");
    (Connection::new(far, 64, session), near)
}

type Diary = Rc<RefCell<Vec<(u32, ThreadId)>>>;

fn note(_: &Routines<(u32, Diary)>, done: Completed<(u32, Diary)>) {
    assert_eq!((done.verb, done.connection.received()), (Verb::Recv, &b"bait"[..]));
    let (name, diary) = &done.connection.session;
    diary.borrow_mut().push((*name, thread::current().id()));
}

//= lecture 001: 한번만 호출해도 ACP큐의 콜백함수가 전부 비워집니다
#[test]
fn one_alertable_wait_empties_the_whole_queue() {
    let _turn = turn();
    let routines = Routines::open(&SyscallCounter::default()).expect("routines");
    let diary = Diary::default();
    let peers: Vec<TcpStream> = (0..5)
        .map(|name| {
            let (connection, peer) = fed((name, Rc::clone(&diary)));
            routines.start(connection, Verb::Recv, note).expect("it starts");
            peer
        })
        .collect();
    let woken = routines.wait(None, Alertable::Yes).expect("it wakes");
    assert_eq!(woken, Woken { routines: 5, event: false });
    assert_eq!((diary.borrow().len(), routines.in_flight()), (5, 0));
    drop(peers);
}

//= lecture 003: APC 큐에 저장된 결과는 APC 큐를 소유한 스레드만 확인할 수 있지만
#[test]
fn a_routine_runs_only_in_an_alertable_wait_of_the_thread_that_asked() {
    let _turn = turn();
    let routines = Routines::open(&SyscallCounter::default()).expect("routines");
    let diary = Diary::default();
    let (connection, _peer) = fed((1, Rc::clone(&diary)));
    routines.start(connection, Verb::Recv, note).expect("it starts");
    // It is done by now, but this thread is not in an alertable wait, and no other thread can run it.
    let asleep = routines.wait(Some(Duration::from_millis(20)), Alertable::No).expect("it sleeps");
    let elsewhere = thread::spawn(|| {
        let others: Routines<()> =
            Routines::open(&SyscallCounter::default()).expect("routines of another thread");
        others.wait(Some(Duration::from_millis(20)), Alertable::Yes).expect("it sleeps")
    });
    assert_eq!(elsewhere.join().expect("the other thread ends").routines, 0);
    assert_eq!((asleep.routines, diary.borrow().len()), (0, 0));
    assert_eq!(routines.wait(None, Alertable::Yes).expect("it wakes").routines, 1);
    assert_eq!(*diary.borrow(), [(1, thread::current().id())]);
}

#[test]
fn waiting_for_a_routine_without_being_alertable_is_an_error_that_says_so() {
    let _turn = turn();
    let routines: Routines<()> = Routines::open(&SyscallCounter::default()).expect("routines");
    let error = routines.wait(None, Alertable::No).expect_err("it would never end");
    assert!(error.to_string().contains("not alertable"), "{error}");
}

//= lecture 001: 비동기 입출력 함수가 바로 처리되면 베스트, 아니면 WSA_IO_PENDING
#[test]
fn a_call_says_whether_it_was_done_at_once_and_its_routine_runs_later_in_both_cases() {
    let _turn = turn();
    let routines = Routines::open(&SyscallCounter::default()).expect("routines");
    let diary = Diary::default();
    let (there, _near) = fed((1, Rc::clone(&diary)));
    let started = routines.call(there, Verb::Recv, None, note).expect("it starts");
    assert_eq!(
        (started, diary.borrow().len()),
        (Started::AtOnce(4), 0),
        "its routine waits for an alertable wait"
    );
    let (mut near, far) = pair();
    let silent = Connection::new(far, 64, (2, Rc::clone(&diary)));
    assert_eq!(routines.call(silent, Verb::Recv, None, note).expect("it starts"), Started::Pending);
    assert_eq!(routines.in_flight(), 2);
    assert_eq!(routines.wait(None, Alertable::Yes).expect("it wakes"), Woken { routines: 1, event: false });
    near.write_all(b"bait").expect("it is sent");
    assert_eq!(routines.wait(None, Alertable::Yes).expect("it wakes"), Woken { routines: 1, event: false });
    let names: Vec<u32> = diary.borrow().iter().map(|(name, _)| *name).collect();
    assert_eq!((names, routines.in_flight()), (vec![1, 2], 0));
}

//= lecture 003: lpCompletionRoutine 인자의 우선순위가 높으므로 이 값이 NULL 이 아니면 hEvent 변수는 사용되지 않음
#[test]
fn an_event_is_ignored_when_a_routine_is_given() {
    let _turn = turn();
    let tally = SyscallCounter::default();
    let routines = Routines::open(&tally).expect("routines");
    let diary = Diary::default();
    for at_once in [true, false] {
        let event = Event::create(&tally).expect("an event");
        let (mut near, far) = pair();
        if at_once {
            near.write_all(b"bait").expect("it is sent");
            far.peek(&mut [0]).expect("it is there");
        }
        let connection = Connection::new(far, 64, (1, Rc::clone(&diary)));
        routines.call(connection, Verb::Recv, Some(&event), note).expect("it starts");
        if !at_once {
            near.write_all(b"bait").expect("it is sent");
        }
        assert_eq!(routines.wait(None, Alertable::Yes).expect("it wakes").routines, 1);
        let mut wait = WaitSet::open(1, &tally).expect("a wait");
        wait.add(&event, 0).expect("there is a place");
        let mut set = Vec::new();
        wait.wait(Some(Duration::ZERO), &mut set).expect("it looks");
        assert_eq!(set, [], "the routine has run, and the event is not set (at once: {at_once})");
    }
}

//= lecture 001: overlapped 를 Session* 로 캐스팅하면 다시 session에 담겨있던 데이터들을 다시 활용할 수 있다
#[test]
fn the_session_comes_back_with_its_operation() {
    let _turn = turn();
    let tally = SyscallCounter::default();
    let requests = Requests::open(&tally).expect("requests");
    let mut started = Vec::new();
    for name in ["first", "second", "third"] {
        let (connection, peer) = fed(name);
        let event = Event::create(&tally).expect("an event");
        let pending = requests.start(connection, Verb::Recv, &event).expect("it starts");
        started.push((name, event, pending, peer));
    }
    for (name, event, pending, _peer) in started.into_iter().rev() {
        let mut wait = WaitSet::open(1, &tally).expect("a wait");
        wait.add(&event, 0).expect("there is a place");
        wait.wait(None, &mut Vec::new()).expect("the event is set");
        let Overlapped::Complete(done) = requests.result(pending) else { panic!("its event is set") };
        assert_eq!((done.connection.session, done.result.expect("it worked")), (name, 4));
    }
}

//= lecture 002: IO 가 끝나기 전에 절대 메모리에서 사라지면 안 된다
#[test]
fn what_is_in_flight_is_called_off_and_awaited_before_it_is_freed() {
    let _turn = turn();
    let alive = Arc::new(());
    let tally = SyscallCounter::default();
    let mut peers = Vec::new();
    {
        let requests = Requests::open(&tally).expect("requests");
        let event = Event::create(&tally).expect("an event");
        let port: CompletionPort<Arc<()>> = CompletionPort::create(1, &tally).expect("a port");
        let routines: Routines<Arc<()>> = Routines::open(&tally).expect("routines");
        for _ in 0..3 {
            let mut silent = || {
                let (near, far) = pair();
                peers.push(near);
                Connection::new(far, 64, Arc::clone(&alive))
            };
            // Dropping the handle does not free the operation.
            drop(requests.start(silent(), Verb::Recv, &event).expect("it starts"));
            let associated = port.associate(silent(), 1).expect("it is bound");
            port.start(associated, Verb::Recv).expect("it starts");
            routines.start(silent(), Verb::Recv, |_, _| {}).expect("it starts");
        }
        assert_eq!(Arc::strong_count(&alive), 10, "the kernel's side owns them all");
    }
    assert_eq!(Arc::strong_count(&alive), 1, "and they are freed by their end");
}

//= lecture 001: fd_set 의 최대 갯수 64개 제한
#[test]
fn a_set_of_sockets_has_a_ceiling() {
    let _turn = turn();
    let mut set = SocketSet::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let mut sockets = Vec::new();
    while sockets.len() <= SOCKETS_MAX {
        let socket = listener.try_clone().expect("a descriptor is left");
        let (place, result) = (set.has_place(&socket), set.insert(&socket));
        assert_eq!(place, result.is_ok());
        sockets.push(socket);
        if result.is_err() {
            break;
        }
    }
    assert!(sockets.len() <= SOCKETS_MAX + 1, "the set is full in the end: {}", sockets.len());
    let refused = sockets.pop().expect("the last one was refused");
    assert!(!set.contains(&refused) && sockets.iter().all(|socket| set.contains(socket)));
}

#[test]
fn a_set_that_is_given_64_places_refuses_the_sixty_fifth_socket() {
    let _turn = turn();
    let mut set = SocketSet::with_places(64);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let sockets: Vec<TcpListener> =
        (0..65).map(|_| listener.try_clone().expect("a descriptor is left")).collect();
    for socket in &sockets[..64] {
        set.insert(socket).expect("there is a place");
        set.insert(socket).expect("a socket that is in the set needs no other place");
    }
    let refused = set.insert(&sockets[64]).expect_err("sixty-four is the most");
    assert_eq!(refused.to_string(), "the set takes 64 sockets, and has as many");
    assert!(set.contains(&sockets[63]) && !set.contains(&sockets[64]) && !set.has_place(&sockets[64]));
}

//= lecture 001: Select 모델의 단점, 매번 등록 비용
#[test]
fn select_registers_anew_each_time() {
    let _turn = turn();
    let tally = SyscallCounter::default();
    let ((mut near, speaking), (_other, silent)) = (pair(), pair());
    near.write_all(b"x").expect("it is sent");
    speaking.peek(&mut [0]).expect("it is there");
    let (mut read, mut write) = (SocketSet::default(), SocketSet::default());
    read.insert(&silent).expect("a place");
    read.insert(&speaking).expect("a place");
    assert_eq!(select(&mut read, &mut write, None, &tally).expect("it wakes"), 1);
    assert!(read.contains(&speaking) && !read.contains(&silent), "the answer is written over the wish");
    // The silent socket is out of the set now: another call would not report it.
    assert_eq!(tally.spent().calls, 1);
}

//= lecture 001: WSAEventSelect 모델의 단점, 최대 64개 제한
#[test]
fn a_wait_for_the_sixty_fifth_event_is_refused() {
    let _turn = turn();
    let tally = SyscallCounter::default();
    let mut wait = WaitSet::open(64, &tally).expect("a wait");
    let events: Vec<Event> = (0..65).map(|_| Event::create(&tally).expect("an event")).collect();
    for (token, event) in events[..64].iter().enumerate() {
        wait.add(event, token).expect("there is a place");
    }
    let refused = wait.add(&events[64], 64).expect_err("sixty-four is the most");
    assert_eq!(refused.to_string(), "one wait takes 64 events, and the set has as many");
    events[63].set().expect("it is set");
    let mut set = Vec::new();
    wait.wait(None, &mut set).expect("it wakes");
    assert_eq!(set, [63], "the others are waited for as before");
    wait.remove(0);
    wait.add(&events[64], 64).expect("there is a place again");
}

//= lecture 000: 64개끼리 묶어 가지고 처리한다
#[test]
fn groups_of_sixty_four_lift_the_ceiling() {
    let _turn = turn();
    for name in ["event_select", "overlapped_event"] {
        let mut site = Site::default();
        site.events_max = 64;
        let server = Server::start(model(name).expect("the model"), site);
        let mut clients: Vec<TcpStream> = (0..200).map(|_| client(server.address)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            exchange(client, &pattern(100, number));
        }
        assert_eq!(server.site.turned_away(), 0);
        // One event of each group is for control: four groups have room for 252.
        assert_eq!(server.site.groups(), 4, "{name}");
    }
}

//= lecture 003: 입출력 완료 포트에는 이런 제약이 없음
#[test]
fn any_worker_may_take_any_packet() {
    let _turn = turn();
    let port: CompletionPort<u32> = CompletionPort::create(2, &SyscallCounter::default()).expect("a port");
    let (connection, mut peer) = fed(7);
    let associated = port.associate(connection, 1).expect("it is bound");
    // This thread starts the operation, a second one takes the result and starts another one, a third one takes that.
    port.start(associated, Verb::Recv).expect("it starts");
    let mut threads = Vec::new();
    for _ in 0..3 {
        let port = port.clone();
        let worker = thread::spawn(move || {
            let Some(Packet::Done { associated, result, .. }) = port.next(None).expect("it wakes") else {
                panic!("only receives are started")
            };
            assert_eq!((associated.connection().session, result.expect("it worked")), (7, 4));
            let mut connection = associated;
            connection.connection_mut().forget_received();
            port.start(connection, Verb::Recv).expect("it starts again");
            thread::current().id()
        });
        threads.push(worker.join().expect("a worker ends well"));
        peer.write_all(b"more").expect("it is sent");
    }
    threads.push(thread::current().id());
    threads.sort_by_key(|id| format!("{id:?}"));
    threads.dedup();
    assert_eq!(threads.len(), 4, "one session, one asker and three workers");
}

//= lecture 002: IOCP 는 Inter-Thread Communication에도 쓰인다
#[test]
fn posting_to_a_port_is_talking_between_threads() {
    let _turn = turn();
    let port: CompletionPort<()> = CompletionPort::create(1, &SyscallCounter::default()).expect("a port");
    let poster = port.clone();
    thread::spawn(move || (1..=3).for_each(|key| poster.post(key))).join().expect("the poster ends");
    for expected in 1..=3 {
        let packet = port.next(None).expect("it wakes").expect("a packet");
        assert!(matches!(packet, Packet::Posted { key } if key == expected), "{packet:?}");
    }
    assert!(port.next(Some(Duration::ZERO)).expect("it wakes").is_none());
}

/// Wine ignores the concurrency value: there this law cannot be shown.
//= lecture 002: 돌아가는 쓰레드 수를 제한시켜버리는 겁니다
#[test]
fn a_port_lets_so_many_run_and_another_one_while_one_blocks() {
    let _turn = turn();
    if skipped_under_wine("a_port_lets_so_many_run_and_another_one_while_one_blocks") {
        return;
    }
    let port: CompletionPort<()> = CompletionPort::create(1, &SyscallCounter::default()).expect("a port");
    (1..=2).for_each(|key| port.post(key));
    let taken = |port: &CompletionPort<()>| match port.next(Some(Duration::from_millis(20))) {
        Ok(Some(Packet::Posted { key })) => Some(key),
        Ok(_) => None,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(taken(&port), Some(1));
    let second = || {
        let port = port.clone();
        thread::spawn(move || taken(&port)).join().expect("the worker ends")
    };
    assert_eq!(second(), None, "this thread runs, and one is all that may");
    let (tell, told) = mpsc::channel();
    port.blocking(|| tell.send(second()).expect("it is heard"));
    assert_eq!(told.recv(), Ok(Some(2)), "while this thread blocks, another one may run");
}

/// Wine ignores the concurrency value: there this law cannot be shown.
//= lecture 002: 이것을 0으로 주면 디폴트로 CPU 숫자를 지정합니다
#[test]
fn a_port_of_zero_lets_as_many_run_as_there_are_processors() {
    let _turn = turn();
    let port: CompletionPort<()> =
        CompletionPort::create(0, &SyscallCounter::default()).expect("zero is a value");
    let processors = thread::available_parallelism().expect("the system says it").get();
    (0..=processors).for_each(|key| port.post(key));
    if skipped_under_wine("a_port_of_zero_lets_as_many_run_as_there_are_processors") {
        return;
    }
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let busy: Vec<mpsc::Sender<()>> = (0..processors)
            .map(|_| {
                let (end, ended) = mpsc::channel();
                let (port, tell) = (&port, tell.clone());
                scope.spawn(move || {
                    let packet = port.next(None).expect("it wakes");
                    tell.send(packet.is_some()).expect("it is heard");
                    // As far as the port knows, it runs until this thread ends.
                    ended.recv().ok();
                });
                assert_eq!(told.recv(), Ok(true));
                end
            })
            .collect();
        let more = port.next(Some(Duration::from_millis(20))).expect("it looks");
        assert!(more.is_none(), "as many run as there are processors: {more:?}");
        drop(busy);
        assert!(port.next(None).expect("it wakes").is_some(), "a place is free again");
    });
}

/// Wine wakes the one that came first, so this law cannot be shown there.
#[test]
fn a_port_wakes_the_one_that_came_last() {
    let _turn = turn();
    if skipped_under_wine("a_port_wakes_the_one_that_came_last") {
        return;
    }
    let port: CompletionPort<()> = CompletionPort::create(4, &SyscallCounter::default()).expect("a port");
    let (tell, told) = mpsc::channel();
    let mut workers = Vec::new();
    for name in ['a', 'b', 'c'] {
        let (inner, tell) = (port.clone(), tell.clone());
        workers.push(thread::spawn(move || {
            while let Some(Packet::Posted { key }) = inner.next(None).expect("it wakes") {
                if key == 0 {
                    return;
                }
                tell.send(name).expect("it is heard");
            }
        }));
        wait_until_asleep(&port, workers.len());
    }
    for key in 1..=5 {
        port.post(key);
        assert_eq!(told.recv(), Ok('c'), "the one that came last is still warm");
        wait_until_asleep(&port, workers.len());
    }
    workers.iter().for_each(|_| port.post(0));
    workers.into_iter().for_each(|worker| worker.join().expect("a worker ends"));
}

fn wait_until_asleep(port: &CompletionPort<()>, workers: usize) {
    while port.waiting() < workers {
        thread::yield_now();
    }
}

fn skipped_under_wine(name: &str) -> bool {
    let wine = naksi_os::completion_port::is_wine();
    if wine {
        eprintln!("skipped under Wine, which does not keep this law: {name}");
    }
    wine
}
