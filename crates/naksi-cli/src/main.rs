//! The naksi program: reads the command line, runs one subcommand, and turns its outcome into an exit code.
//!
//! What a subcommand does is in the file of its name. Nothing here knows sockets, sessions or protocols.

#![forbid(unsafe_code)]

mod apps;
mod attack;
mod client;
mod codegen;
mod config;
mod configure;
mod conform;
mod demo;
mod dummy;
mod ladder;
mod logging;
mod outcome;
mod output_file;
mod picture;
mod platform;
mod reload;
mod replay;
mod results;
mod serve;
mod sim;
mod target;
mod text;
mod units;

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
    Replay(replay::Options),
    /// Check settings, write a file of them, or see where each came from.
    Config(configure::Options),
    /// Send a crowd of dummy clients to a server, check every byte and measure the latency.
    Dummy(dummy::Options),
    /// Send hostile peers at a server on this machine, and see what good clients feel of it.
    Attack(attack::Options),
    /// Run the engine on simulated kernels full of faults, and assert every law.
    Sim(sim::Options),
    /// Write a client in another language from a table of packets, or the Rust types of a .proto file.
    Gen(codegen::Options),
    /// Talk to an echo server line by line, as in the lectures; an empty line ends it.
    Client(client::Options),
    /// A server, a crowd and a live view in one process, for ten seconds.
    Demo(demo::Options),
    /// Run one suite of scenarios on every port and compare what they leave.
    Conform(conform::Options),
    /// The six socket models of the lectures under the same load: one table, one picture.
    Ladder(ladder::Options),
}

fn main() -> ExitCode {
    let Some(command) = Arguments::parse().command else {
        // Clap's own answer to "no subcommand" is an error; a person who types the bare name wants the help.
        return ended(Arguments::command().print_help().map_err(Problem::output).map(|()| Outcome::Fine));
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
    // Simulated services fail all the time, on purpose: their logs say nothing to a person.
    let log = match (!matches!(command, Command::Sim(_))).then(logging::start).transpose() {
        Ok(log) => log,
        Err(problem) => return ended(Err(problem)),
    };
    let result = match command {
        Command::Serve(options) => serve::run(options),
        Command::Record(options) => options.into_serve().and_then(serve::run),
        Command::Replay(options) => replay::run(options),
        Command::Config(options) => configure::run(options),
        Command::Dummy(options) => dummy::run(options),
        Command::Attack(options) => attack::run(options),
        Command::Sim(options) => sim::run(options),
        Command::Gen(options) => codegen::run(options),
        Command::Client(options) => client::run(options),
        Command::Demo(options) => demo::run(options),
        Command::Conform(options) => conform::run(options),
        Command::Ladder(options) => ladder::run(options),
    };
    // The log's writer thread must be done before the last line of stderr is printed.
    drop(log);
    ended(result)
}

fn ended(result: Result<Outcome, Problem>) -> ExitCode {
    match result {
        Ok(outcome) => outcome.exit_code(),
        Err(problem) => {
            eprintln!("naksi: {problem}");
            problem.exit_code()
        }
    }
}
