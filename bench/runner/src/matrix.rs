//! The matrix: the workloads, the peers, and Naksi's goals.

use crate::load::{Echo, Pace, Relay, Share, Storm};

/// The build profile of peers that are crates of this workspace: its release profile.
const FAT: &str = "fat LTO";

/// Peers: name, program, the arguments of this variant, and how it is built.
pub(crate) const PEERS: &[(&str, &str, &[&str], &str)] = &[
    ("tokio", "peer-tokio", &["--runtime", "current"], FAT),
    ("tokio-local", "peer-tokio", &["--runtime", "local"], FAT),
    ("tokio-mt", "peer-tokio", &["--runtime", "multi"], FAT),
    ("mio", "peer-mio", &[], FAT),
    ("monoio", "peer-monoio", &[], FAT),
    ("compio", "peer-compio", &[], FAT),
    ("glommio", "peer-glommio", &[], FAT),
    ("asio", "peer-asio", &[], "g++ -O2"),
    ("go", "peer-go", &[], "go build"),
    ("epoll", "peer-epoll", &[], FAT),
    ("uring", "peer-uring", &[], FAT),
];

/// Single-threaded peers, which are left out where two workers run.
pub(crate) const OF_ONE_THREAD: &[&str] = &["tokio", "tokio-local"];

/// The alternatives that a user would choose: the goal is to reach the best of them.
const RIVALS: &[&str] = &["tokio", "tokio-local", "tokio-mt", "mio", "monoio", "compio", "glommio", "asio"];
/// What a hand can write without an engine.
const FLOORS: &[&str] = &["epoll", "uring"];

/// A kind of work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Echo(Echo),
    Relay(Relay),
    Storm(Storm),
    /// So many connections, each of which has said one thing.
    Idle(usize),
    /// As before, but with this many servers and client processes, because a process has 20,000 descriptors.
    IdleMany {
        connections: usize,
        servers: usize,
    },
    /// So many connections, and the server is told to end.
    End(usize),
}

/// Which figure of a cell a goal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// The cell's main figure: cost of a message, or memory of a connection.
    Cost,
    /// Latency of the middle message.
    P50,
    /// Latency of the slowest in a hundred.
    P99,
    /// Processor time per time, 1 is a whole one.
    Core,
    /// Deliveries that did not come.
    Lost,
}

/// What Naksi wants to reach in a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// The figure of the best of these peers divided by Naksi's must be at least this.
    Ratio(Figure, &'static [&'static str], f64),
    /// Naksi's own figure is at most this: microseconds, bytes, or processors.
    Most(Figure, f64),
}

/// One kind of work at one size.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    pub(crate) workers: usize,
    /// Options of `naksi serve` for this cell.
    pub(crate) naksi: &'static [&'static str],
    pub(crate) goals: Vec<Goal>,
    /// Whether a quick run has it.
    pub(crate) quick: bool,
}

impl Cell {
    fn new(name: &'static str, work: Work, goals: Vec<Goal>) -> Self {
        Self { name, work, workers: 1, naksi: &[], goals, quick: false }
    }

    fn quick(self) -> Self {
        Self { quick: true, ..self }
    }

    fn naksi(self, naksi: &'static [&'static str]) -> Self {
        Self { naksi, ..self }
    }

    fn two_workers(self) -> Self {
        Self { workers: 2, ..self }
    }
}

fn echo(connections: usize, window: usize, message_bytes: usize) -> Work {
    Work::Echo(Echo { connections, window, message_bytes, share: Share::Even })
}

fn relay(members: usize, rooms: usize, pace: Pace) -> Work {
    Work::Relay(Relay { members, rooms, message_bytes: 64, pace, stalled: 0 })
}

fn cost(peers: &'static [&'static str], least: f64) -> Goal {
    Goal::Ratio(Figure::Cost, peers, least)
}

/// What small messages are to reach wherever they are echoed.
fn echo_goals() -> Vec<Goal> {
    vec![cost(RIVALS, 1.00), cost(&["compio"], 1.05), cost(FLOORS, 0.95)]
}

/// The whole matrix, in the order of its tables.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = echo_cells();
    cells.extend(relay_cells());
    cells.extend(other_cells());
    cells
}

fn echo_cells() -> Vec<Cell> {
    let fair = Goal::Ratio(Figure::P99, RIVALS, 1.2);
    let many = || vec![cost(&["epoll"], 1.00), cost(&["tokio"], 1.12)];
    let large = || vec![cost(&["tokio"], 1.4), cost(&["epoll"], 0.95)];
    let with = |mut goals: Vec<Goal>, more: Goal| {
        goals.push(more);
        goals
    };
    vec![
        Cell::new("echo-c50-w1-64", echo(50, 1, 64), echo_goals()).quick(),
        Cell::new("echo-c50-w16-64", echo(50, 16, 64), echo_goals()),
        Cell::new("echo-c1000-w1-64", echo(1_000, 1, 64), with(echo_goals(), fair)),
        Cell::new("echo-c1000-w16-64", echo(1_000, 16, 64), with(echo_goals(), fair)).quick(),
        Cell::new("echo-c10000-w1-64", echo(10_000, 1, 64), many()),
        Cell::new("echo-c10000-w16-64", echo(10_000, 16, 64), many()),
        Cell::new("echo-c50-w1-512", echo(50, 1, 512), vec![cost(RIVALS, 1.00)]),
        Cell::new("echo-c50-w16-512", echo(50, 16, 512), vec![cost(RIVALS, 1.00)]),
        Cell::new("echo-c50-w1-4k", echo(50, 1, 4 * 1024), vec![cost(RIVALS, 1.00)]),
        Cell::new("echo-c50-w1-16k", echo(50, 1, 16 * 1024), vec![cost(RIVALS, 1.00)]),
        Cell::new("echo-c50-w16-4k", echo(50, 16, 4 * 1024), large()),
        Cell::new("echo-c50-w16-16k", echo(50, 16, 16 * 1024), large()).quick(),
        Cell::new("echo-light", echo(1, 1, 64), vec![]),
        Cell::new("echo-light-spin", echo(1, 1, 64), vec![Goal::Ratio(Figure::P50, RIVALS, 2.2)])
            .naksi(&["--spin-us", "50"]),
        Cell::new("echo-c50-w1-spin", echo(50, 1, 64), vec![cost(RIVALS, 1.00)]).naksi(&["--spin-us", "50"]),
    ]
}

fn relay_cells() -> Vec<Cell> {
    let saturated = |tokio| {
        let peers = [
            cost(&["tokio"], tokio),
            cost(&["monoio", "compio"], 1.9),
            cost(&["glommio"], 1.15),
            cost(&["asio"], 4.0),
            cost(&["epoll"], 1.0),
        ];
        peers.to_vec()
    };
    let tick = |ratio, p50_us| {
        vec![cost(&["tokio"], ratio), Goal::Most(Figure::P50, p50_us), Goal::Most(Figure::Lost, 0.0)]
    };
    // A hundred members receive every message: 2,000 of them a second are 200,000 deliveries.
    let room = relay(100, 1, Pace::PerSecond(2_000));
    // In four seconds each member is sent 2.4 MB: four times what Naksi keeps for one that does not read (256 KiB of
    // its own, and up to 512 KiB in the kernel), and seven times what the others keep.
    let pace = Pace::PerSecond(3_000);
    let stalled = Relay { members: 500, rooms: 10, message_bytes: 2 * 1024, pace, stalled: 5 };
    vec![
        Cell::new("relay-100-1", relay(100, 1, Pace::Closed(16)), saturated(1.6)).quick(),
        Cell::new("relay-1000-10", relay(1_000, 10, Pace::Closed(16)), saturated(1.9)).quick(),
        Cell::new("relay-100k", relay(100, 1, Pace::PerSecond(1_000)), vec![cost(RIVALS, 1.00)]),
        Cell::new("relay-200k-tick1", room, tick(1.8, 800.0)).naksi(&["--flush-ms", "1"]),
        Cell::new("relay-200k-tick5", room, tick(6.0, 3_000.0)).naksi(&["--flush-ms", "5"]).quick(),
        Cell::new("relay-200k-tick20", room, tick(12.0, 11_000.0)).naksi(&["--flush-ms", "20"]),
        Cell::new(
            "relay-1m-tick20",
            relay(1_000, 1, Pace::PerSecond(1_000)),
            vec![Goal::Most(Figure::Core, 0.40), Goal::Most(Figure::Lost, 0.0)],
        )
        .naksi(&["--flush-ms", "20"]),
        Cell::new(
            "relay-stalled",
            Work::Relay(stalled),
            vec![cost(RIVALS, 1.00), Goal::Most(Figure::Lost, 0.0)],
        ),
    ]
}

fn other_cells() -> Vec<Cell> {
    let skewed = Echo { connections: 100, window: 1, message_bytes: 64, share: Share::Skewed };
    vec![
        Cell::new("idle-10000", Work::Idle(10_000), vec![Goal::Most(Figure::Cost, 512.0)]).quick(),
        Cell::new(
            "idle-100000",
            Work::IdleMany { connections: 100_000, servers: 6 },
            vec![Goal::Most(Figure::Cost, 512.0)],
        ),
        Cell::new("storm", Work::Storm(Storm { at_a_time: 64 }), vec![cost(&["tokio"], 1.1)]).quick(),
        Cell::new("two-c50-w1", echo(50, 1, 64), vec![cost(&["tokio-mt"], 1.05)]).two_workers(),
        Cell::new("two-c1000-w1", echo(1_000, 1, 64), vec![cost(&["tokio-mt"], 1.05)]).two_workers(),
        Cell::new("two-skewed", Work::Echo(skewed), vec![cost(&["tokio-mt"], 1.00)]).two_workers(),
        Cell::new("end-10000", Work::End(10_000), vec![]),
    ]
}
