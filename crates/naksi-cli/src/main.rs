//! The naksi program: reads the command line, runs one subcommand, and turns its outcome into an exit code.
//!
//! What a subcommand does is in the file of its name. Nothing here knows sockets, sessions or protocols.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(all(
        feature = "world",
        feature = "admin",
        feature = "clients",
        feature = "gen",
        feature = "ladder",
        feature = "sim",
        feature = "pictures"
    )),
    allow(dead_code, reason = "a program without some of its commands has less use for what they share")
)]

#[cfg(feature = "admin")]
mod admin;
#[cfg(not(feature = "admin"))]
#[path = "no_admin.rs"]
mod admin;
mod apps;
#[cfg(feature = "clients")]
mod attack;
#[cfg(feature = "clients")]
mod client;
#[cfg(feature = "gen")]
mod codegen;
mod config;
mod configure;
#[cfg(feature = "sim")]
mod conform;
#[cfg(feature = "clients")]
mod demo;
#[cfg(feature = "clients")]
mod dummy;
mod escape;
#[cfg(feature = "clients")]
mod json;
#[cfg(feature = "ladder")]
mod ladder;
mod logging;
mod outcome;
mod output_file;
mod picture;
mod platform;
mod reload;
#[cfg(feature = "clients")]
mod replay;
mod results;
mod serve;
#[cfg(feature = "sim")]
mod sim;
mod stderr;
mod target;
mod text;
mod units;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use outcome::{Outcome, Problem};

/// A completion-port network engine for game servers: run a server, load it, look at it.
#[derive(Parser)]
#[command(
    name = "naksi",
    version,
    after_help = "Logs go to stderr; NAKSI_LOG=info (or RUST_LOG) shows more."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server: echo, relay, chat or world.
    Serve(serve::Options),
    /// Run a server that records what it receives: `naksi serve --record DIR` in other words.
    Record(serve::RecordOptions),
    /// Send what a server has recorded to a server, session by session, and say what is answered.
    #[cfg(feature = "clients")]
    Replay(replay::Options),
    /// Check settings, write a file of them, or see where each came from.
    Config(configure::Options),
    /// Send a crowd of dummy clients to a server, check every byte and measure the latency.
    #[cfg(feature = "clients")]
    Dummy(dummy::Options),
    /// Send hostile peers at a server on this machine, and see what good clients feel of it.
    #[cfg(feature = "clients")]
    Attack(attack::Options),
    /// Run the engine on simulated kernels full of faults, and assert every law.
    #[cfg(feature = "sim")]
    Sim(sim::Options),
    /// Write a client in another language from a table of packets, or the Rust types of a .proto file.
    #[cfg(feature = "gen")]
    Gen(codegen::Options),
    /// Talk to an echo server line by line, as in the lectures; an empty line ends it.
    #[cfg(feature = "clients")]
    Client(client::Options),
    /// A server, a crowd and a live view in one process, for ten seconds.
    #[cfg(feature = "clients")]
    Demo(demo::Options),
    /// Run one suite of scenarios on every port and compare what they leave.
    #[cfg(feature = "sim")]
    Conform(conform::Options),
    /// The six socket models of the lectures under the same load: one table, one picture.
    #[cfg(feature = "ladder")]
    Ladder(ladder::Options),
}

impl Command {
    /// Simulated services fail all the time, on purpose: their logs say nothing to a person.
    fn is_simulated(&self) -> bool {
        match self {
            #[cfg(feature = "sim")]
            Command::Sim(_) => true,
            _ => false,
        }
    }
}

fn main() -> ExitCode {
    stderr::take_panics();
    let command = match Arguments::try_parse() {
        Ok(Arguments { command: Some(command) }) => command,
        // Clap's own answer to "no subcommand" is an error; a person who types the bare name wants the help.
        Ok(Arguments { command: None }) => {
            let help = Arguments::command().render_help().to_string();
            return ended(results::print(&help).map(|()| Outcome::Fine));
        }
        Err(answer) => return answered(&answer),
    };
    let reloads = match &command {
        Command::Serve(options) => options.reloads(),
        Command::Record(options) => options.reloads(),
        _ => false,
    };
    if reloads {
        // Before there is another thread: each inherits it.
        platform::hold_hangups();
    }
    if !command.is_simulated()
        && let Err(problem) = logging::start()
    {
        return ended(Err(problem));
    }
    ended(match command {
        Command::Serve(options) => serve::run(options),
        Command::Record(options) => options.into_serve().and_then(serve::run),
        #[cfg(feature = "clients")]
        Command::Replay(options) => replay::run(options),
        Command::Config(options) => configure::run(options),
        #[cfg(feature = "clients")]
        Command::Dummy(options) => dummy::run(options),
        #[cfg(feature = "clients")]
        Command::Attack(options) => attack::run(options),
        #[cfg(feature = "sim")]
        Command::Sim(options) => sim::run(options),
        #[cfg(feature = "gen")]
        Command::Gen(options) => codegen::run(options),
        #[cfg(feature = "clients")]
        Command::Client(options) => client::run(options),
        #[cfg(feature = "clients")]
        Command::Demo(options) => demo::run(options),
        #[cfg(feature = "sim")]
        Command::Conform(options) => conform::run(options),
        #[cfg(feature = "ladder")]
        Command::Ladder(options) => ladder::run(options),
    })
}

/// What clap answers in place of a command: help and versions on standard output, what is wrong on standard error.
fn answered(answer: &clap::Error) -> ExitCode {
    let (is_error, text) = (answer.use_stderr(), answer.render());
    match (is_error, io::stderr().is_terminal(), io::stdout().is_terminal()) {
        // In a terminal, in colours; a terminal is read.
        (true, true, _) | (false, _, true) => {
            if let Err(error) = answer.print()
                && !is_error
            {
                return ended(Err(Problem::output(error)));
            }
        }
        (true, false, _) => stderr::line(format_args!("{}", text.to_string().trim_end())),
        (false, _, false) => return ended(results::print(&text.to_string()).map(|()| Outcome::Fine)),
    }
    stderr::flush();
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2))
}

fn ended(result: Result<Outcome, Problem>) -> ExitCode {
    let code = match result {
        Ok(outcome) => outcome.exit_code(),
        Err(problem) => {
            stderr::problem("naksi", &problem);
            problem.exit_code()
        }
    };
    stderr::flush();
    code
}
