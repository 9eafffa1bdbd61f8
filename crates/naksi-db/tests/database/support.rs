//! Test support: a folder, a database in it, and answers that can be awaited.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use naksi_db::{Conn, Database, Durability, JobRequest, Migration, Result, Settings, SubmitError};
use tempfile::TempDir;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    statements: "CREATE TABLE players (name BIGINT PRIMARY KEY, version BIGINT NOT NULL, items TEXT NOT NULL)",
}];

/// A folder that is gone when its test is over.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for the test"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn address(&self) -> String {
        format!("sqlite:{}", self.path().join("test.db").display())
    }

    pub(crate) fn database(&self, settings: Settings) -> Database {
        Database::open(&self.address(), SCHEMA, settings).expect("a database")
    }
}

/// Many threads, no waiting for a disk, and enough time on a busy machine.
pub(crate) fn settings() -> Settings {
    let (threads, durability) = (Some(4), Durability::ProcessEnd);
    Settings { threads, durability, load_within: 2 * PATIENCE, ..Settings::default() }
}

/// Submits a job whose answer can be awaited.
pub(crate) fn asked<T, J>(asked: JobRequest<'_, J>) -> Result<Receiver<Result<T>>, SubmitError>
where
    T: Send + 'static,
    J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
{
    let (answers, answer) = channel();
    asked.then(move |value| answers.send(value).ok().unwrap_or_default())?;
    Ok(answer)
}

/// Hands a job over and waits for its answer.
pub(crate) fn answer<T, J>(job: JobRequest<'_, J>) -> Result<T>
where
    T: Send + 'static,
    J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
{
    wait(&asked(job).expect("the job is taken"))
}

pub(crate) fn wait<T>(answer: &Receiver<Result<T>>) -> Result<T> {
    answer.recv_timeout(PATIENCE).expect("every job that was taken has an answer")
}

/// A player as its row says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Player {
    pub(crate) version: i64,
    pub(crate) items: Vec<u32>,
}

pub(crate) fn write(conn: &mut Conn<'_>, name: u32, player: &Player) -> Result<()> {
    let items: Vec<String> = player.items.iter().map(u32::to_string).collect();
    let values = [name.into(), player.version.into(), items.join(" ").into()];
    let statement = "INSERT INTO players (name, version, items) VALUES ($1, $2, $3) \
                     ON CONFLICT (name) DO UPDATE SET version = excluded.version, items = excluded.items";
    conn.execute(statement, &values).map(|_| ())
}

pub(crate) fn read(conn: &mut Conn<'_>, name: u32) -> Result<Player> {
    let row = conn.query_one("SELECT version, items FROM players WHERE name = $1", &[name.into()])?;
    let Some(row) = row else { return Ok(Player::default()) };
    let items = row.get::<String>(1)?;
    let items = items.split_whitespace().map(|item| item.parse().expect("a number")).collect();
    Ok(Player { version: row.get(0)?, items })
}

/// Waits until something is so.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
