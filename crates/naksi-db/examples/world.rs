//! A small world: players log in, walk, get the moves of players in view at 20 Hz, and come back to where they were.
//!
//! Run `cargo run -p naksi-db --example world -- --secs 5` twice: thirty walkers live in the world for five seconds,
//! and the second time the database knows them. Without `--secs` it serves on 127.0.0.1:7777 until Ctrl-C. `naksi
//! serve --app world` adds what a large world needs: back-pressure, duplicate logins, talk.
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use naksi::grid::{Change, Entity, EntityId, Grid, Point, Sight};
use naksi::packets::decode;
use naksi::prelude::*;
use naksi_db::{Database, Migration, Settings};

packets! {
    /// The packets of the world.
    WORLD {
        1 => Login { name: String }
        2 => Welcome { you: u32, back: bool, x: i32, y: i32 }
        3 => Step { x: i32, y: i32 }
        4 => Enter { who: u32, name: String }
        5 => Leave { who: u32 }
        6 => Moved { places: Vec<(u32, i32, i32)> }
    }
}

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    statements: "CREATE TABLE players (name TEXT PRIMARY KEY, x BIGINT NOT NULL, y BIGINT NOT NULL)",
}];
/// Distances at which a player comes into view and leaves it; they differ, so that walking along the border does not
/// flicker.
const SIGHT: (u32, u32) = (100, 120);

/// The room's data of a member: its name, its entity once the database has returned its place, and its next step.
struct Person {
    name: String,
    entity: Option<EntityId>,
    step: Option<Point>,
}

struct World {
    db: Database,
    grid: Grid,
    /// The player and its name for each of the grid's slots.
    bodies: HashMap<u32, (SessionId, String)>,
    /// They have left; the next tick sends it.
    gone: Vec<EntityId>,
    changes: Vec<Change>,
}

impl Room for World {
    type Member = Person;

    fn routes(routes: &mut Routes<Self>) {
        routes.on(Self::step);
    }

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        let Some(key) = cx.member(member).map(|person| person.name.clone()) else { return };
        let name = key.clone();
        // The load waits for the save of the previous logout. The world goes on meanwhile.
        let load = self.db.load(key.as_str(), move |db| {
            let row = db.query_one("SELECT x, y FROM players WHERE name = $1", &[name.as_str().into()])?;
            row.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
        });
        if load.then_for(cx, member, Self::loaded).is_err() {
            cx.kick(member);
        }
    }

    fn on_leave(&mut self, _cx: &mut Cx<'_, Self>, _member: SessionId, person: Person, _why: LeaveReason) {
        let Some(entity) = person.entity else { return };
        if let Some(at) = self.grid.at(entity) {
            self.save(person.name, at);
        }
        self.gone.push(entity);
    }

    fn on_tick(&mut self, cx: &mut Cx<'_, Self>, _tick: u64) {
        self.grid.begin_round();
        for (_, person) in cx.members_mut() {
            if let (Some(entity), Some(to)) = (person.entity, person.step.take()) {
                self.grid.move_to(entity, to, &mut self.changes);
            }
        }
        self.tell_changes(cx);
        let mut seen = Vec::new();
        for (member, watcher) in
            cx.members().filter_map(|(id, person)| Some((id, person.entity?))).collect::<Vec<_>>()
        {
            // 512 bytes a tick for each, near and long unsent entities first: a crowd only reduces the update rate.
            self.grid.choose(watcher, 512, |_| 6, &mut seen);
            let place = |entity: EntityId| self.grid.at(entity).map(|at| (entity.slot(), at.x(), at.y()));
            let places: Vec<_> = seen.drain(..).filter_map(place).collect();
            if !places.is_empty() {
                cx.send(member, &Moved { places });
            }
        }
        for entity in std::mem::take(&mut self.gone) {
            self.grid.remove(entity, &mut self.changes);
            self.tell_changes(cx);
            self.bodies.remove(&entity.slot());
        }
    }
}

impl World {
    /// The database has answered with the player's last position, if there is one.
    fn loaded(
        &mut self,
        cx: &mut Cx<'_, Self>,
        member: SessionId,
        place: naksi_db::Result<Option<(i32, i32)>>,
    ) {
        let (Ok(place), Some(name)) = (place, cx.member(member).map(|person| person.name.clone())) else {
            cx.kick(member);
            return;
        };
        let (x, y) = place.unwrap_or((0, 0));
        let sight = Some(Sight::new(SIGHT.0, SIGHT.1));
        let entity = Entity { at: Point::new(x, y), sight, visible: true };
        let entity = self.grid.insert(entity, &mut self.changes);
        self.bodies.insert(entity.slot(), (member, name));
        cx.send(member, &Welcome { you: entity.slot(), back: place.is_some(), x, y });
        if let Some(person) = cx.member_mut(member) {
            person.entity = Some(entity);
        }
    }

    /// A step is only stored; the tick applies it.
    fn step(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, Step { x, y }: Step) {
        if let Some(person) = cx.member_mut(from) {
            person.step = Some(Point::new(x.clamp(-1000, 1000), y.clamp(-1000, 1000)));
        }
    }

    /// Each enter has one leave, and nothing is sent about a player before its enter or after its leave.
    fn tell_changes(&mut self, cx: &mut Cx<'_, Self>) {
        for change in self.changes.drain(..) {
            match change {
                Change::Enter { watcher, entity } => {
                    let name = self.bodies[&entity.slot()].1.clone();
                    cx.send(self.bodies[&watcher.slot()].0, &Enter { who: entity.slot(), name });
                }
                Change::Leave { watcher, entity } => {
                    cx.send(self.bodies[&watcher.slot()].0, &Leave { who: entity.slot() });
                }
            }
        }
    }

    fn save(&self, name: String, at: Point) {
        let key = name.clone();
        let save = self.db.save(key.as_str(), move |db| {
            let upsert =
                "INSERT INTO players VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET x = $2, y = $3";
            db.execute(upsert, &[name.as_str().into(), at.x().into(), at.y().into()])
        });
        if let Err(refused) = save.forget() {
            eprintln!("a place is not saved: {refused}");
        }
    }
}

/// A connection: handles the login, and forwards everything else to the world.
struct Player {
    world: Arc<OnceLock<RoomRef<World>>>,
    db: Database,
    is_in: bool,
}

impl Session for Player {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        let open = || {
            let (db, grid) = (self.db.clone(), Grid::new(SIGHT.1));
            let world = World { db, grid, bodies: HashMap::new(), gone: Vec::new(), changes: Vec::new() };
            c.open_room(world, RoomOptions::new().tick_hz(20)).expect("these options make sense")
        };
        let world = self.world.get_or_init(open).clone();
        match decode::<Login>(packet.body) {
            _ if self.is_in => drop(c.room_send_packet(&world, packet)),
            Ok(Login { name }) if packet.id == Login::ID => {
                self.is_in = c.join_room(&world, Person { name, entity: None, step: None });
            }
            _ => c.close(DisconnectReason::Protocol),
        }
    }
}

/// A player that walks in circles; the first one prints what it receives.
struct Walker {
    number: u64,
    at: (i32, i32),
}

impl Session for Walker {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.send_message(&Login { name: format!("walker {}", self.number) });
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        let line = match packet.id {
            Welcome::ID => decode(packet.body).map(|Welcome { back, x, y, .. }| {
                self.at = (x, y);
                c.after(Duration::from_millis(100), 0);
                format!("welcome{} at {x}, {y}", if back { " back" } else { "" })
            }),
            Enter::ID => {
                decode(packet.body).map(|Enter { who, name }| format!("{name} comes into view as {who}"))
            }
            Leave::ID => decode(packet.body).map(|Leave { who }| format!("{who} is out of view")),
            _ => return,
        };
        match line {
            Ok(line) if self.number == 0 => println!("walker 0: {line}"),
            Ok(_) => {}
            Err(_) => c.close(DisconnectReason::Protocol),
        }
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, tag: u32) {
        let angle = f64::from(tag) / 10.0 + self.number as f64;
        self.at = (self.at.0 + (20.0 * angle.cos()) as i32, self.at.1 + (20.0 * angle.sin()) as i32);
        c.send_message(&Step { x: self.at.0, y: self.at.1 });
        c.after(Duration::from_millis(100), tag + 1);
    }
}

/// A test calls it too (`tests/database/example.rs`).
pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = Database::open("sqlite:world.db", SCHEMA, Settings::default())?;
    let (world, players) = (Arc::new(OnceLock::new()), db.clone());
    let server = Server::from_env()?.group(GroupOptions::new("logic"));
    let player = move || Player { world: Arc::clone(&world), db: players.clone(), is_in: false };
    let mut arguments = std::env::args().skip_while(|argument| argument != "--secs").skip(1);
    match arguments.next().map(|secs| secs.parse()).transpose()? {
        None => server.session(player).run()?,
        Some(secs) => {
            let service = server.listen("127.0.0.1:0").session(player).start()?;
            let walkers = Client::new(service.addresses()[0]).connections(30);
            let walker = |arrival: &ConnectionInfo| Walker { number: arrival.index, at: (0, 0) };
            let walkers = walkers.session_with(walker).start()?;
            std::thread::sleep(Duration::from_secs(secs));
            walkers.stop(Duration::from_secs(1));
            print!("{}", service.stop(Duration::from_secs(2)).rooms);
        }
    }
    let closed = db.close(Duration::from_secs(10));
    println!("places saved: {}, lost: {}", db.stats().counts.saves_done_total, closed.saves_lost);
    Ok(())
}
