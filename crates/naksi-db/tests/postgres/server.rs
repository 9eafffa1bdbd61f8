//! A PostgreSQL server for tests: in a temporary folder, on a free port, as a user who is not root, because a server
//! refuses to run as root. Most tests share one; those that stop it start their own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use naksi_db::{Conn, Database, JobRequest, Migration, Result, Settings};
use tempfile::TempDir;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let server = Self { folder, programs: programs(), port: free.expect("a free port").port() };
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(server.folder.path()));
        }
        let arguments = ["--auth=trust", "--username=naksi", "--no-sync", "--encoding=UTF8", "--locale=C"];
        run(server.program("initdb").arg("-D").arg(server.data()).args(arguments));
        server.start_again();
        server
    }

    pub(crate) fn start_again(&self) {
        let port = self.port;
        let folder = self.folder.path().display();
        let options =
            format!("-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=50");
        let mut command = self.program("pg_ctl");
        command.args(["-w", "-t", "60", "-o", &options, "-l"]).arg(self.folder.path().join("log"));
        run(command.arg("-D").arg(self.data()).arg("start"));
    }

    /// Every connection breaks at once, as if the power had gone.
    pub(crate) fn stop(&self) {
        run(self.program("pg_ctl").args(["-m", "immediate", "-D"]).arg(self.data()).arg("stop"));
    }

    pub(crate) fn address(&self) -> String {
        format!("postgres://naksi@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn database(&self, schema: &[Migration], settings: Settings) -> Database {
        Database::open(&self.address(), schema, settings).expect("a database")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// One of PostgreSQL's programs, as a user whom it accepts.
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir(self.folder.path());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = self.program("pg_ctl");
        stop.args(["-m", "immediate", "-D"]).arg(self.data()).arg("stop");
        stop.output().ok(); // A test may have stopped it.
    }
}

/// Where Debian has PostgreSQL's programs, or where the search path says.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let of_debian = versions.map(|version| version.path().join("bin"));
    let of_path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = of_debian.chain(std::env::split_paths(&of_path)).collect();
    let found = places.into_iter().find(|place| place.join("initdb").exists());
    found.expect("the feature `postgres` is tested on a real server: install PostgreSQL (Debian: postgresql)")
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    user.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

fn run(command: &mut Command) {
    // Its child processes may keep its output open, so waiting for the end of the output could block for ever.
    let log = tempfile::NamedTempFile::new().expect("a log");
    let [file, both] = [(); 2].map(|()| log.as_file().try_clone().expect("a handle"));
    let status = command.stdout(file).stderr(both).status().expect("the program is there");
    assert!(status.success(), "{command:?}: {status}\n{}", read(log.path()));
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Hands a job over and waits for its answer.
pub(crate) fn answer<T, J>(job: JobRequest<'_, J>) -> Result<T>
where
    T: Send + 'static,
    J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
{
    let (answers, answer) = channel();
    job.then(move |value| answers.send(value).ok().unwrap_or_default()).expect("the job is taken");
    answer.recv_timeout(PATIENCE).expect("every job that was taken has an answer")
}

/// Waits until something is so.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
