//! The naksi program: parses the command line, runs one subcommand, and turns its outcome into an exit code. Each
//! subcommand has a file of its name.

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
#[cfg(feature = "clients")]
mod json;
#[cfg(feature = "clients")]
mod line;
#[cfg(feature = "ladder")]
mod ladder;
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

use naksi::log::{self, escape};

use clap::{CommandFactory, Parser, Subcommand};

use outcome::{Outcome, Problem};

/// A completion-port network engine for game servers: run a server, load-test it, inspect it.
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
    /// Run a server that records what it receives: the same as `naksi serve --record DIR`.
    Record(serve::RecordOptions),
    /// Send recorded sessions to a server again, and report its answers.
    #[cfg(feature = "clients")]
    Replay(replay::Options),
    /// Check settings, create a settings file, or show where each setting came from.
    Config(configure::Options),
    /// Run many dummy clients against a server, check every byte and measure the latency.
    #[cfg(feature = "clients")]
    Dummy(dummy::Options),
    /// Attack a server on this machine with hostile peers, and measure what regular clients notice.
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
    /// A server, clients and a live view in one process, for ten seconds.
    #[cfg(feature = "clients")]
    Demo(demo::Options),
    /// Run one suite of scenarios on every port and compare the results.
    #[cfg(feature = "sim")]
    Conform(conform::Options),
    /// The six socket models of the lectures under the same load: one table, one picture.
    #[cfg(feature = "ladder")]
    Ladder(ladder::Options),
}

impl Command {
    /// Simulated services fail on purpose all the time, so their logs are not shown.
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
        // Clap treats a missing subcommand as an error; the bare name should print the help.
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
        && let Err(problem) = log::init().map_err(serve::failed)
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

/// Prints clap's output: help and versions on standard output, errors on standard error.
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
