//! Recordings as scripts: what each session sent and when, in the order in which the sessions began.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use naksi::record::{EXTENSION, Entry, Header, Reader};

use crate::config;
use crate::outcome::Problem;

/// What one session did.
#[derive(Default)]
pub(super) struct Script {
    began_us: u64,
    /// The pieces that it sent, with their times since the session began.
    pub(super) sends: Vec<(Duration, Vec<u8>)>,
    /// When it ended, since it began, and why; `None` if the recording ends before.
    pub(super) ended: Option<(Duration, String)>,
}

/// A run of a server.
pub(super) struct Play {
    pub(super) scripts: Vec<Arc<Script>>,
    /// When each of them begins, since the first one did.
    pub(super) begins: Vec<Duration>,
    /// Whether what was sent is whole frames.
    pub(super) framed: bool,
    pub(super) table_version: u64,
    pub(super) files: usize,
    /// Entries that the recorder had to drop.
    pub(super) lost: u64,
    /// Files with a torn entry at the end, and up to which byte each of them was read.
    pub(super) torn: Vec<(PathBuf, u64)>,
}

impl Play {
    /// Loads a file, all files of a folder, or all whose names have this prefix.
    pub(super) fn load(path: &Path) -> Result<Self, Problem> {
        let files = files(path)?;
        let mut play = Self {
            scripts: Vec::new(),
            begins: Vec::new(),
            framed: true,
            table_version: 0,
            files: files.len(),
            lost: 0,
            torn: Vec::new(),
        };
        let mut sessions = BTreeMap::new();
        for file in files {
            let header = play.read(&file, &mut sessions)?;
            play.framed &= header.framed;
            play.table_version = header.table_version;
        }
        let mut scripts: Vec<Script> = sessions.into_values().collect();
        scripts.sort_by_key(|script| script.began_us);
        let first = scripts.first().map_or(0, |script| script.began_us);
        play.begins = scripts.iter().map(|script| Duration::from_micros(script.began_us - first)).collect();
        play.scripts = scripts.into_iter().map(Arc::new).collect();
        Ok(play)
    }

    fn read(&mut self, path: &Path, sessions: &mut BTreeMap<u64, Script>) -> Result<Header, Problem> {
        let refused = |what: String| Problem::usage(format!("{}: {what}", path.display()));
        let file = File::open(path).map_err(|error| refused(config::plain(&error)))?;
        let mut reader = Reader::new(BufReader::new(file)).map_err(|error| refused(error.to_string()))?;
        while let Some(entry) = reader.next_entry().map_err(|error| refused(error.to_string()))? {
            if let Entry::Lost { entries, .. } = entry {
                self.lost += entries;
            }
            let Some(session) = entry.session() else { continue };
            let at_us = entry.at_us();
            // Whose beginning was lost begins with what is known of it.
            let script =
                sessions.entry(session).or_insert_with(|| Script { began_us: at_us, ..Script::default() });
            let since = Duration::from_micros(at_us.saturating_sub(script.began_us));
            match entry {
                Entry::Received { bytes, .. } => script.sends.push((since, bytes.to_vec())),
                Entry::Ended { reason, .. } => script.ended = Some((since, reason.to_owned())),
                Entry::Opened { .. } | Entry::Lost { .. } => {}
            }
        }
        if reader.is_torn() {
            self.torn.push((path.to_owned(), reader.whole_bytes()));
        }
        Ok(*reader.header())
    }

    /// From the first beginning to the last thing that happened.
    pub(super) fn span(&self) -> Duration {
        let last = |script: &Script| {
            let sent = script.sends.last().map_or(Duration::ZERO, |(at, _)| *at);
            script.ended.as_ref().map_or(sent, |(at, _)| sent.max(*at))
        };
        let ends = self.begins.iter().zip(&self.scripts).map(|(begins, script)| *begins + last(script));
        ends.max().unwrap_or_default()
    }
}

/// The recordings of one run behind a path.
fn files(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let (folder, prefix) = match path.is_dir() {
        true => (path, String::new()),
        false => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            (folder.unwrap_or(Path::new(".")), name)
        }
    };
    let listed = fs::read_dir(folder).map_err(|error| {
        Problem::usage(format!("cannot read {}: {}", folder.display(), config::plain(&error)))
    })?;
    let mut runs: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in listed.filter_map(|file| file.ok().map(|file| file.path())) {
        let name = file.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if file.extension().is_some_and(|end| end == EXTENSION) && name.starts_with(&prefix) {
            let run = name.rsplit_once('-').map_or(name.as_str(), |(run, _)| run).to_owned();
            runs.entry(run).or_default().push(file);
        }
    }
    // `1-2-1` is a run, though `1-2-10` begins so too.
    if let Some(exact) = runs.remove(&prefix) {
        runs = BTreeMap::from([(prefix, exact)]);
    }
    let several: Vec<String> = runs.keys().map(|run| folder.join(run).display().to_string()).collect();
    match (runs.len(), runs.pop_last()) {
        (1, Some((_, mut files))) => {
            files.sort();
            Ok(files)
        }
        (0, _) | (_, None) => Err(Problem::usage(format!("there is no recording at {}", path.display()))),
        _ => Err(Problem::usage(format!("there are several runs, name one: {}", several.join(", ")))),
    }
}
