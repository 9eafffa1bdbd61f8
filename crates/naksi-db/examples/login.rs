//! A room that remembers its visitors. Run `cargo run -p naksi-db --example login`, then `nc 127.0.0.1 7777`: the
//! first line is your name. When you come back, it knows how often you were there.
use naksi::prelude::*;
use naksi_db::{Database, Migration, Settings};

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    statements: "CREATE TABLE visitors (name TEXT PRIMARY KEY, visits BIGINT NOT NULL)",
}];

struct Visitor {
    name: String,
    /// Not known before the database has answered.
    visits: Option<i64>,
}

struct Hall(Database);

impl Room for Hall {
    type Member = Visitor;

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        let Some(name) = cx.member(member).map(|visitor| visitor.name.clone()) else { return };
        let load = self.0.load(name.as_str(), {
            let name = name.clone();
            move |db| {
                let row =
                    db.query_one("SELECT visits FROM visitors WHERE name = $1", &[name.as_str().into()])?;
                row.map_or(Ok(0), |row| row.get::<i64>(0))
            }
        });
        if load.then_for(cx, member, Self::loaded).is_err() {
            cx.kick(member);
        }
    }

    fn on_leave(&mut self, _cx: &mut Cx<'_, Self>, _member: SessionId, visitor: Visitor, _why: LeaveReason) {
        // Who goes before the database has answered has changed nothing.
        let Visitor { name, visits: Some(visits) } = visitor else { return };
        let save = self.0.save(name.as_str(), {
            let name = name.clone();
            move |db| {
                let upsert =
                    "INSERT INTO visitors VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET visits = $2";
                db.execute(upsert, &[name.as_str().into(), visits.into()])
            }
        });
        if let Err(refused) = save.forget() {
            eprintln!("{name} is not saved: {refused}");
        }
    }
}

impl Hall {
    fn loaded(&mut self, cx: &mut Cx<'_, Self>, member: SessionId, visits: naksi_db::Result<i64>) {
        let (Ok(before), Some(visitor)) = (visits, cx.member_mut(member)) else {
            cx.kick(member);
            return;
        };
        visitor.visits = Some(before + 1);
        let line = format!("welcome {}, visit {}\n", visitor.name, before + 1);
        cx.broadcast_bytes(line.as_bytes());
    }
}

/// Takes the name, and leaves the rest to the room.
struct Door(std::sync::Arc<std::sync::OnceLock<RoomRef<Hall>>>, Database);

impl Session for Door {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return 0 };
        let name = String::from_utf8_lossy(&data[..end]).trim().to_owned();
        let open = || c.open_room(Hall(self.1.clone()), RoomOptions::new()).expect("the defaults make sense");
        let hall = self.0.get_or_init(open).clone();
        c.join_room(&hall, Visitor { name, visits: None });
        data.len()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = Database::open("sqlite:visitors.db", SCHEMA, Settings::default())?;
    let (hall, of_sessions) = (std::sync::Arc::default(), database.clone());
    Server::from_env()?.session(move || Door(std::sync::Arc::clone(&hall), of_sessions.clone())).run()?;
    let closed = database.close(std::time::Duration::from_secs(10));
    println!("{} saves lost", closed.saves_lost);
    Ok(())
}
