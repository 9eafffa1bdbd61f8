//! Answers delivered to a room reach the member that asked, and not one that took its slot.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use naksi::prelude::{
    Conn, Cx, LeaveReason, Room, RoomOptions, RoomRef, Server, Service, Session, SessionId,
};
use naksi_db::{Database, Result};

use crate::support::{Folder, PATIENCE, Player, read, settings, until, write};

/// Loads players that join and saves players that leave, slowly; number 13 waits until the test releases it.
struct Hall {
    database: Database,
    holds: Sender<Sender<()>>,
}

impl Room for Hall {
    type Member = (u32, Option<Player>);

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        let (name, holds) = (cx.member(member).expect("it has joined").0, self.holds.clone());
        let load = self.database.load(name, move |db| {
            if name == 13 {
                let (hold, held) = channel();
                holds.send(hold).expect("the test listens");
                held.recv().ok(); // An error is the signal to go on.
            }
            read(db, name)
        });
        load.then_for(cx, member, Self::loaded).expect("taken");
    }

    fn on_leave(
        &mut self,
        _cx: &mut Cx<'_, Self>,
        _member: SessionId,
        data: Self::Member,
        _why: LeaveReason,
    ) {
        let (name, Some(player)) = data else { return };
        let save = self.database.save(name, move |db| {
            std::thread::sleep(Duration::from_millis(5));
            write(db, name, &player)
        });
        save.forget().expect("taken");
    }
}

impl Hall {
    fn loaded(&mut self, cx: &mut Cx<'_, Self>, member: SessionId, player: Result<Player>) {
        let mut player = player.expect("it is loaded");
        player.version += 1;
        let (name, data) = cx.member_mut(member).expect("only members are told");
        let line = format!("{name} {}\n", player.version);
        *data = Some(player);
        cx.send_bytes(member, line.as_bytes());
    }
}

struct Door {
    hall: Arc<OnceLock<RoomRef<Hall>>>,
    database: Database,
    holds: Sender<Sender<()>>,
}

impl Session for Door {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return 0 };
        let name = std::str::from_utf8(&data[..end]).expect("text").parse().expect("a number");
        let hall = Hall { database: self.database.clone(), holds: self.holds.clone() };
        let open = || c.open_room(hall, RoomOptions::new()).expect("the defaults make sense");
        let hall = self.hall.get_or_init(open).clone();
        c.join_room(&hall, (name, None));
        end + 1
    }
}

fn start(database: &Database) -> (Service, Receiver<Sender<()>>) {
    let (holds, held) = channel();
    let (hall, database) = (Arc::default(), database.clone());
    let server = Server::new().listen("127.0.0.1:0").workers(1).session(move || Door {
        hall: Arc::clone(&hall),
        database: database.clone(),
        holds: holds.clone(),
    });
    (server.start().expect("a server"), held)
}

fn join(service: &Service, name: u32) -> BufReader<TcpStream> {
    let mut socket = TcpStream::connect(service.addresses()[0]).expect("the server");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket.write_all(format!("{name}\n").as_bytes()).expect("the server reads");
    BufReader::new(socket)
}

fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("an answer");
    line
}

#[test]
fn a_member_that_comes_back_at_once_finds_what_it_left() {
    let folder = Folder::new();
    let database = folder.database(settings());
    let (service, _held) = start(&database);
    for visit in 1..=50 {
        let mut member = join(&service, 7);
        assert_eq!(line(&mut member), format!("7 {visit}\n"));
        drop(member);
        // The server has submitted the save, and the database has not completed it.
        until("it has left", || database.stats().counts.saves_total == visit);
    }
    drop(service.stop(PATIENCE));
    assert_eq!(database.close(PATIENCE).saves_lost, 0);
}

#[test]
fn an_answer_for_a_member_that_has_gone_is_dropped_and_counted() {
    let folder = Folder::new();
    let database = folder.database(settings());
    let (service, held) = start(&database);
    let gone = join(&service, 13);
    let hold = held.recv_timeout(PATIENCE).expect("its load runs");
    drop(gone);
    until("it is gone", || service.stats().live == 0);
    let mut next = join(&service, 14);
    assert_eq!(line(&mut next), "14 1\n");
    drop(hold);
    until("the late answer is counted", || database.stats().counts.gone_total == 1);
    drop(service.stop(PATIENCE));
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut next, &mut rest).expect("the server said goodbye");
    assert_eq!(rest, b"", "the next heard nothing of it");
    assert_eq!(database.close(PATIENCE).saves_lost, 0);
}
