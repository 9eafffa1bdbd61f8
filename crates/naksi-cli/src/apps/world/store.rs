//! The store of the world's players: a name and its last place. Calls return at once; the database keeps the order
//! per name.

use std::io;
use std::time::Duration;

use naksi::prelude::*;
use naksi_db::{Closed, Database, Durability, Migration, OpenError, Result, Settings, SubmitError};
use tempfile::TempDir;

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    statements: "CREATE TABLE players (name TEXT PRIMARY KEY, x BIGINT NOT NULL, y BIGINT NOT NULL)",
}];

/// How long the remaining saves may take when the server stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// The players of one world; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store(Database);

/// The players of one world, and the temporary folder to remove if they are not kept.
pub(crate) struct Kept {
    // Dropped in this order, because a system may refuse to remove an open file.
    store: Store,
    _folder: Option<TempDir>,
}

impl Kept {
    /// Opens the database at this address; without one, players are kept only while the server runs.
    pub(crate) fn open(address: Option<&str>) -> Result<Self, OpenError> {
        if let Some(address) = address {
            return Ok(Self { store: Store::open(address)?, _folder: None });
        }
        // A random name, because another container may share the folder and use the same process id.
        let folder = tempfile::Builder::new().prefix("naksi-world-").tempdir();
        let folder = folder.map_err(|error| no_folder(&error))?;
        let store = Store::open(&format!("sqlite:{}", folder.path().join("world.db").display()))?;
        Ok(Self { store, _folder: Some(folder) })
    }

    pub(crate) fn store(&self) -> Store {
        self.store.clone()
    }

    /// Writes the remaining saves, after all sessions have ended. Returns the number of saves written since the
    /// opening, and what could not be written.
    pub(crate) fn close(self) -> (u64, Closed) {
        let closed = self.store.0.close(CLOSE_WITHIN);
        (self.store.0.stats().counts.saves_done_total, closed)
    }
}

fn no_folder(error: &io::Error) -> OpenError {
    let reason = format!("cannot make a folder for it: {error}");
    OpenError::Address { address: std::env::temp_dir().display().to_string(), reason }
}

impl Store {
    pub(crate) fn open(address: &str) -> Result<Self, OpenError> {
        // A position that a power cut takes is walked again.
        let settings = Settings { durability: Durability::ProcessEnd, ..Settings::default() };
        Ok(Self(Database::open(address, SCHEMA, settings)?))
    }

    /// Loads a player's last place, after all earlier saves of it; `None` for a new player. The answer goes to the
    /// room, if the member is still there.
    pub(crate) fn load<R: Room>(
        &self,
        cx: &Cx<'_, R>,
        member: SessionId,
        name: &str,
        answer: impl FnOnce(&mut R, &mut Cx<'_, R>, SessionId, Result<Option<(i32, i32)>>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        let owned = name.to_owned();
        let asked = self.0.load(name, move |conn| {
            let row = conn.query_one("SELECT x, y FROM players WHERE name = $1", &[owned.as_str().into()])?;
            row.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
        });
        asked.then_for(cx, member, answer)
    }

    /// Submits a save of a player's place; saves keep their order and finish before the program ends.
    pub(crate) fn save(&self, name: &str, (x, y): (i32, i32)) -> Result<(), SubmitError> {
        let owned = name.to_owned();
        let asked = self.0.save(name, move |conn| {
            conn.execute(
                "INSERT INTO players (name, x, y) VALUES ($1, $2, $3) \
                 ON CONFLICT (name) DO UPDATE SET x = excluded.x, y = excluded.y",
                &[owned.as_str().into(), x.into(), y.into()],
            )
        });
        asked.forget()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worlds_of_one_process_id_in_one_temporary_folder_keep_apart() {
        let worlds = [(); 2].map(|()| Kept::open(None).expect("a database"));
        let files = worlds.each_ref().map(|world| {
            let folder = world._folder.as_ref().expect("it is not to be kept");
            folder.path().join("world.db")
        });
        assert!(files.iter().all(|file| file.exists()) && files[0] != files[1], "{files:?}");
        for world in &worlds {
            world.store().save("kim", (9, 1)).expect("taken");
        }
        for world in worlds {
            assert_eq!(world.close(), (1, Closed::default()));
        }
    }
}
