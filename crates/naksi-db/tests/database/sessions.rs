//! Answers to sessions reach the session that asked, and no other session after it has ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use naksi::prelude::{Bytes, Conn, Server, ServiceHandle, Session};
use naksi_db::Database;

use crate::support::{Folder, settings, until};

/// Queries the database for every line that it receives. The answer is the line with the session's own id.
struct Asker {
    database: Database,
    remote: Arc<Mutex<Option<ServiceHandle>>>,
    /// Notified when a job runs; the job continues when the other end is dropped.
    running: Sender<Sender<()>>,
}

impl Session for Asker {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return 0 };
        let line = String::from_utf8(data[..end].to_vec()).expect("text");
        let remote = self.remote.lock().expect("no panic").clone().expect("it runs");
        let running = self.running.clone();
        let load = self.database.load(1, move |_| {
            let (hold, held) = channel();
            running.send(hold).expect("the test listens");
            held.recv().ok(); // An error is the signal to go on.
            Ok(line.clone())
        });
        load.send_to(&remote, c.id(), |answer| Bytes::from(format!("{}\n", answer.expect("a line"))))
            .expect("taken");
        end + 1
    }
}

#[test]
fn a_late_answer_for_a_session_that_has_gone_is_dropped_and_reaches_no_other() {
    let folder = Folder::new();
    let database = folder.database(settings());
    let remote: Arc<Mutex<Option<ServiceHandle>>> = Arc::default();
    let (running, runs) = channel();
    let (of_sessions, of_database) = (Arc::clone(&remote), database.clone());
    let server = Server::new().listen("127.0.0.1:0").workers(1).session(move || Asker {
        database: of_database.clone(),
        remote: Arc::clone(&of_sessions),
        running: running.clone(),
    });
    let service = server.start().expect("a server");
    *remote.lock().expect("no panic") = Some(service.handle());
    let connect = || TcpStream::connect(service.addresses()[0]).expect("the server");

    let mut gone = connect();
    gone.write_all(b"secret\n").expect("the server reads");
    let job = runs.recv().expect("its job runs");
    drop(gone);
    until("it is gone", || service.stats().live == 0);
    // Takes the slot that became free, with the next generation.
    let mut next = connect();
    until("the next is there", || service.stats().live == 1);
    drop(job);
    until("the late answer is counted", || service.stats().stale_total == 1);

    next.write_all(b"mine\n").expect("the server reads");
    drop(runs.recv().expect("its job runs"));
    let mut line = String::new();
    let mut reader = BufReader::new(next);
    reader.read_line(&mut line).expect("an answer");
    assert_eq!(line, "mine\n", "its own, and nothing before it");
    let mut rest = Vec::new();
    reader.get_ref().set_nonblocking(true).expect("an option");
    reader.read_to_end(&mut rest).ok(); // It would block, because there is nothing more.
    assert_eq!(rest, b"");
    drop(reader);
    drop(service.stop(std::time::Duration::from_secs(5)));
    let closed = database.close(std::time::Duration::from_secs(5));
    assert_eq!(closed.loads_dropped, 0);
}
