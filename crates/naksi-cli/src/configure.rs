//! `naksi config`: checks, prints and creates settings without starting a server.

use std::io;
use std::path::{Path, PathBuf};

use crate::admin;
use crate::config::{FILE_DEFAULT, Flags, Origin, plain, table};
use crate::escape;
use crate::outcome::{Outcome, Problem};
use crate::output_file::OutputFile;
use crate::results::print;
use crate::target;

/// Options of `naksi config`.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check the settings: exit code 0, or 2 with the place of the error.
    Check(Flags),
    /// Write a file with every setting, its default and a description.
    Init {
        /// Where to; a file that exists is left alone.
        #[arg(value_name = "FILE", default_value = FILE_DEFAULT)]
        file: PathBuf,
    },
    /// Print the settings and the source of each: file and line, variable or flag.
    Print {
        /// Also settings that no source mentions, with their defaults.
        #[arg(long)]
        effective: bool,
        #[command(flatten)]
        flags: Flags,
    },
}

/// Runs one of them.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    match options.command {
        Command::Check(flags) => check(&flags),
        Command::Init { file } => init(&file),
        Command::Print { effective, flags } => say(&table::print(&flags.settings()?, effective)),
    }
}

fn check(flags: &Flags) -> Result<Outcome, Problem> {
    let (settings, mut problems) = flags.gather();
    problems.extend(target::listeners(&settings).err().into_iter().flatten());
    problems.extend(admin::check(&settings.admin).err());
    // Only here, because a file may be checked on another system than the one it is for.
    if !settings.backend.is_of_this_system() {
        let line = format!("there is no io.backend \"{}\" on this system", settings.backend);
        problems.push(Problem::Usage(line));
    }
    Problem::all(problems)?;
    let rows = table::rows(&settings);
    let said = rows.iter().filter(|row| settings.origin(&row.name()) != Origin::Default).count();
    let of = flags.file().map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
    say(&format!("naksi: the settings make sense ({of}; {said} of {} are set)\n", rows.len()))
}

fn init(file: &Path) -> Result<Outcome, Problem> {
    let name = file.display();
    match OutputFile::create(file).and_then(|file| file.put(&table::blank())) {
        Ok(()) => say(&format!("naksi: wrote {name}\n")),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Problem::usage(format!("{name} exists, and is left as it is")))
        }
        Err(error) => Err(Problem::failed(format!("cannot write {name}: {}", plain(&error)))),
    }
}

fn say(text: &str) -> Result<Outcome, Problem> {
    print(&escape::lines(text)).map(|()| Outcome::Fine)
}
