//! Comparison runs: Naksi and its peers on the same work, round by round, on one machine.
//!
//! `cargo xtask bench` builds everything and calls this. This file reads the command line and drives the rounds;
//! `matrix.rs` has the workloads, and `round.rs` measures.

#![forbid(unsafe_code)]

mod html;
mod load;
mod machine;
mod matrix;
mod report;
mod round;
mod server;
mod stall;
mod summary;
mod verdict;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

use load::Window;
use machine::Machine;
use matrix::Cell;
use server::Peer;
use summary::{Rounds, Summary};

/// Peers of a quick run, unless others are named.
const QUICK_PEERS: &[&str] = &["tokio", "monoio", "asio", "epoll"];
/// How often a disturbed round is repeated before it is kept and marked; a quick run repeats less.
const REPEATS_MAX: usize = 4;
const QUICK_REPEATS_MAX: usize = 1;

/// Measures Naksi beside its peers.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Names of cells, or their beginnings; all cells by default.
    #[arg(long, value_delimiter = ',', value_name = "CELL,…")]
    only: Vec<String>,
    /// Names of peers; all that were built by default.
    #[arg(long, value_delimiter = ',', value_name = "PEER,…")]
    peers: Option<Vec<String>>,
    /// Rounds of each cell: 7, or 3 if quick.
    #[arg(long)]
    rounds: Option<usize>,
    /// Milliseconds of each round that are measured: 700, or 250 with --quick.
    #[arg(long, value_name = "MS")]
    window_ms: Option<u64>,
    /// A short run of a few cells and peers.
    #[arg(long)]
    quick: bool,
    /// The share of a processor that other processes may use in a round before it is rejected.
    #[arg(long, default_value_t = 0.06)]
    foreign_max: f64,
    /// Only say which cells and peers there are.
    #[arg(long)]
    list: bool,
    /// Naksi's program.
    #[arg(long, default_value = "naksi")]
    naksi: PathBuf,
    /// Another build of Naksi to measure beside this one, for a comparison; its row is naksi-NAME.
    #[arg(long, value_name = "NAME=PROGRAM")]
    beside: Vec<String>,
    /// The folder of the peers' programs.
    #[arg(long, default_value = ".")]
    peers_in: PathBuf,
    /// Why a peer was not built, once for each.
    #[arg(long)]
    not_built: Vec<String>,
    /// The folder of the results.
    #[arg(long, default_value = "results")]
    results: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Holds silent connections until standard input ends; a run starts such processes itself.
    #[command(hide = true)]
    Hold { address: SocketAddr, connections: usize },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Command::Hold { address, connections }) = arguments.command {
        return round::hold(address, connections);
    }
    let cells: Vec<Cell> = matrix::cells().into_iter().filter(|cell| is_chosen(cell, &arguments)).collect();
    let (peers, mut missing) = server::peers_in(&arguments.peers_in, &arguments.naksi);
    if !arguments.not_built.is_empty() {
        missing.clone_from(&arguments.not_built);
    }
    let mut peers = choose(peers, &arguments)?;
    for (place, beside) in arguments.beside.iter().enumerate() {
        let (name, program) = beside.split_once('=').context("--beside wants NAME=PROGRAM")?;
        peers.insert(place + 1, Peer::naksi(format!("naksi-{name}"), program.into()));
    }
    if arguments.list {
        report::list(&cells, &peers, &missing);
        return Ok(());
    }
    ensure!(!cells.is_empty(), "no such cell; --list names them");
    let machine = Machine::here(&std::env::current_dir()?);
    report::head(&machine, &missing);
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 7 });
    let measured = arguments.window_ms.unwrap_or(if arguments.quick { 250 } else { 700 });
    let window = Window { warm_up: Duration::from_millis(150), measured: Duration::from_millis(measured) };
    let repeats_max = if arguments.quick { QUICK_REPEATS_MAX } else { REPEATS_MAX };
    let plan = Plan { rounds, window, foreign_max: arguments.foreign_max, repeats_max };
    let mut summaries = Vec::new();
    for cell in &cells {
        let summary = run_cell(cell, &peers, plan);
        report::cell(&summary);
        summaries.push(summary);
    }
    // A complete run is stored under its own name; anything else is a trial.
    let whole = arguments.only.is_empty() && arguments.peers.is_none() && !arguments.quick;
    let name = if whole { machine.name() } else { "latest".to_owned() };
    report::write((&arguments.results, &name), &machine, &missing, (rounds, window), &summaries)
}

fn is_chosen(cell: &Cell, arguments: &Arguments) -> bool {
    if arguments.only.is_empty() {
        return cell.quick || !arguments.quick;
    }
    // A whole name means that cell; a prefix means all cells that begin with it.
    let whole = arguments.only.iter().any(|name| name == cell.name);
    let exact = |name: &String| matrix::cells().iter().any(|cell| cell.name == name);
    whole || arguments.only.iter().any(|name| !exact(name) && cell.name.starts_with(name.as_str()))
}

fn choose(peers: Vec<Peer>, arguments: &Arguments) -> Result<Vec<Peer>> {
    let quick = || QUICK_PEERS.iter().map(|name| (*name).to_owned()).collect();
    let wanted: Option<Vec<String>> = arguments.peers.clone().or_else(|| arguments.quick.then(quick));
    let Some(wanted) = wanted else { return Ok(peers) };
    for name in arguments.peers.iter().flatten() {
        ensure!(
            peers.iter().any(|peer| peer.name == *name),
            "no peer {name}; --list names those that were built"
        );
    }
    Ok(peers.into_iter().filter(|peer| peer.name == "naksi" || wanted.contains(&peer.name)).collect())
}

/// How a cell is run.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    window: Window,
    foreign_max: f64,
    repeats_max: usize,
}

/// All rounds of a cell, peer by peer within each.
fn run_cell(cell: &Cell, peers: &[Peer], plan: Plan) -> Summary {
    let (mut rejected, mut disturbed) = (0, 0);
    let has_place = |name: &str| cell.workers == 1 || !matrix::OF_ONE_THREAD.contains(&name);
    let peers: Vec<&Peer> = peers.iter().filter(|peer| has_place(&peer.name)).collect();
    let mut all: Vec<Rounds> = peers
        .iter()
        .map(|peer| Rounds {
            peer: peer.name.clone(),
            profile: peer.profile.clone(),
            samples: Vec::new(),
            failed: None,
        })
        .collect();
    // Memory is no matter of chance.
    let rounds = match cell.work {
        matrix::Work::IdleMany { .. } => 1,
        matrix::Work::Idle(_) => plan.rounds.min(3),
        _ => plan.rounds,
    };
    // On a machine that is never quiet, a cell is measured only once more.
    let patience = rounds * peers.len();
    for number in 0..rounds {
        for step in 0..peers.len() {
            // Peers take turns in starting a round, so that none always runs after the same neighbour.
            let at = (number + step) % peers.len();
            if all[at].failed.is_some() {
                all[at].samples.push(None);
                continue;
            }
            for repeat in 0.. {
                let may_repeat = repeat < plan.repeats_max && rejected < patience;
                match round::run(cell, peers[at], plan.window) {
                    Ok(sample) if sample.foreign > plan.foreign_max && may_repeat => rejected += 1,
                    Ok(sample) => {
                        disturbed += usize::from(sample.foreign > plan.foreign_max);
                        all[at].samples.push(Some(sample));
                        break;
                    }
                    Err(error) => {
                        // A peer that fails is left out of this cell from here on, and its error is reported.
                        all[at].failed = Some(format!("round {}: {error:#}", number + 1));
                        all[at].samples.push(None);
                        break;
                    }
                }
            }
        }
    }
    summary::sum_up(cell, &all, rejected, disturbed)
}
