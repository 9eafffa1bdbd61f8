//! Rounds against small servers in this process, each with a fault that a round has to detect.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::*;
use crate::load::Share;

const WINDOW: Window = Window { warm_up: Duration::from_millis(50), measured: Duration::from_millis(300) };

/// Members of a relay that do not read: the first ones.
const DEAF: usize = 2;

/// Handles every connection, with its number, on a thread of its own.
fn server(serve: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let serve = serve.clone();
            thread::spawn(move || serve(number, stream));
        }
    });
    address
}

/// A member of the relay's only room.
struct Member {
    number: usize,
    stream: TcpStream,
    /// To the thread that writes.
    outbox: mpsc::Sender<Vec<u8>>,
    owed_bytes: usize,
}

impl Member {
    fn enter(number: usize, stream: &TcpStream) -> Self {
        let (outbox, frames) = mpsc::channel::<Vec<u8>>();
        let stream = stream.try_clone().expect("a descriptor");
        let mut writer = stream.try_clone().expect("a descriptor");
        thread::spawn(move || frames.iter().try_for_each(|frame| writer.write_all(&frame)));
        Self { number, stream, outbox, owed_bytes: 0 }
    }

    /// Queues a frame, unless the member is one of the two that do not read and its limit is reached.
    fn hear(&mut self, frame: &[u8], owed_bytes_max: usize) -> bool {
        self.owed_bytes += frame.len();
        let ends = self.number < DEAF && self.owed_bytes > owed_bytes_max;
        if ends {
            self.stream.shutdown(Shutdown::Both).ok(); // It may be gone already.
        }
        !ends && self.outbox.send(frame.to_vec()).is_ok()
    }
}

/// A relay of one room that disconnects a member that does not read and is owed more than this many bytes.
fn relay_server(owed_bytes_max: usize) -> SocketAddr {
    let room: Arc<Mutex<Vec<Member>>> = Arc::default();
    server(move |number, mut stream| {
        let mut size = [0; 2];
        while stream.read_exact(&mut size).is_ok() {
            let mut frame = vec![0; usize::from(u16::from_le_bytes(size))];
            frame[..2].copy_from_slice(&size);
            if stream.read_exact(&mut frame[2..]).is_err() {
                return;
            }
            let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
            if frame[2] == 1 {
                frame[2] = 2;
                room.push(Member::enter(number, &stream));
                room.last_mut().expect("it was pushed").hear(&frame, usize::MAX);
            } else {
                room.retain_mut(|member| member.hear(&frame, owed_bytes_max));
            }
        }
    })
}

/// A room of six, two of which do not read: a low load over a long time, so that a busy machine keeps up.
fn relay_round(message_bytes: usize, owed_bytes_max: usize) -> Result<Sample> {
    let pace = Pace::PerSecond(300);
    let work = Relay { members: 6, rooms: 1, message_bytes, pace, stalled: DEAF };
    let window = Window { measured: Duration::from_secs(1), ..WINDOW };
    relay(work, relay_server(owed_bytes_max), std::process::id(), window)
}

#[test]
fn a_round_in_which_the_kernel_keeps_all_that_is_owed_has_stalled_nobody_and_fails() {
    let error = relay_round(64, usize::MAX).expect_err("20 KB are no load").to_string();
    assert!(error.contains("no client was stalled"), "{error}");
}

#[test]
fn a_server_that_keeps_what_is_owed_is_told_from_one_that_ends_who_does_not_read() {
    for (owed_bytes_max, ended, held) in [(usize::MAX, 0, DEAF), (64 * 1024, DEAF, 0)] {
        let sample = relay_round(8 * 1024, owed_bytes_max).expect("a round");
        let stalled = sample.stalled.expect("one client did not read");
        assert_eq!((stalled.ended, stalled.held), (ended, held), "at most {owed_bytes_max} bytes are owed");
        assert_eq!(sample.lost, 0, "the other four hear everything");
        // Each of the two is owed as much as each of the four received, of 315 messages at most.
        let owed = stalled.owed_bytes / (8 * 1024);
        assert!((sample.messages.div_ceil(4)..=315).contains(&owed), "{owed} of {}", sample.messages);
    }
}

/// An echo that ignores connections whose number, from 0, matches.
fn echo_server(is_left_out: fn(usize) -> bool) -> SocketAddr {
    server(move |number, mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if !is_left_out(number) && stream.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    })
}

fn echo_round(is_left_out: fn(usize) -> bool) -> Result<Sample> {
    let work = Echo { connections: 15, window: 2, message_bytes: 64, share: Share::Even };
    echo(work, echo_server(is_left_out), std::process::id(), WINDOW)
}

#[test]
fn a_server_that_does_not_answer_every_fifth_connection_has_lost_the_round() {
    let error = echo_round(|number| number % 5 == 4).expect_err("three get nothing").to_string();
    assert_eq!(error, "6 messages did not come back");
    let sample = echo_round(|_| false).expect("everybody is answered");
    assert_eq!(sample.lost, 0);
}

#[test]
fn what_is_late_when_the_measurement_ends_counts_with_all_the_time_it_takes() {
    let (open, gate) = mpsc::channel();
    let gate = Arc::new(Mutex::new(gate));
    let address = server(move |number, mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if number == 7 {
                gate.lock().expect("one waits at it").recv().ok(); // Or the test is over.
            }
            if stream.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    });
    let work = Echo { connections: 15, window: 1, message_bytes: 64, share: Share::Even };
    let mut running = work.connect(address).expect("connections");
    let mut seen = running.run(WINDOW, || Ok(())).expect("a measurement");
    let (counted, recorded) = (seen.messages, seen.latency.len());
    assert_eq!(counted, recorded, "what has not come back is not there yet");
    open.send(()).expect("it waits");
    running.settle(&mut seen).expect("it comes");
    assert_eq!((seen.messages, seen.lost), (counted, 0), "what comes later is no message of the measurement");
    assert_eq!(seen.latency.len(), recorded + 15, "each connection had one on the way");
    assert!(seen.latency.max() >= WINDOW.measured.as_nanos() as u64, "{}", seen.latency.max());
    let shares = seen.shares.expect("all have the same to do");
    assert!(shares.least == 0 && shares.middle > 0, "{shares:?}");
}
