//! The metrics, from the statistics at one moment: each with its unit in its name and a closed set of labels. A session's id
//! is no label: there would be as many time series as sessions.

use std::time::{Duration, SystemTime};

use naksi::Stats;
use naksi::group::{GroupStats, SPREAD_BOUNDS, Spread};
use naksi_core::reason::DisconnectReason;

use crate::http::State;
use crate::process;
use crate::text::{Kind, Page};

/// A number of the statistics.
struct Number {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    of: fn(&Stats) -> u64,
    /// As the statistics call it.
    #[cfg(test)]
    path: &'static str,
}

macro_rules! numbers {
    ($($name:ident $kind:ident $($path:ident).+: $help:literal,)*) => {
        &[$(Number {
            name: concat!("naksi_", stringify!($name)),
            kind: Kind::$kind,
            help: $help,
            of: |stats| stats.$($path).+,
            #[cfg(test)]
            path: stringify!($($path).+),
        },)*]
    };
}

/// With the number of the worker for a label.
const OF_WORKERS: &[Number] = numbers![
    sessions Gauge live: "Sessions whose slot is taken.",
    received_bytes_total Counter recv_bytes: "Bytes shown to handlers.",
    sent_bytes_total Counter sent_bytes: "Bytes taken by the kernel.",
    packets_total Counter packets: "Whole frames shown to handlers.",
    worker_turns_total Counter turns: "Turns of the worker's loop.",
    completions_total Counter completions: "Completions taken from the port.",
    system_calls_total Counter enters: "System calls of the port to submit and to wait.",
    timers Gauge timers: "Timers set.",
    handles Gauge handles: "Handles open in the port.",
    operations_in_flight Gauge in_flight: "Operations in flight in the port.",
    receive_leases Gauge leases_out: "Receive buffers held by sessions.",
    receives_starved_total Counter starved_total: "Receives that found no free buffer.",
];

/// Of the service as a whole.
const OF_SERVICE: &[Number] = numbers![
    sessions_connected_total Counter connected_total: "Sessions that were told that they are connected.",
    handshakes Gauge handshakes: "Connections whose TLS or WebSocket handshake is not done.",
    tls_not_after_seconds Gauge tls_not_after_seconds: "When the first certificate expires, since 1970; 0 without TLS.",
    accept_pauses_total Counter accept_pauses_total: "Pauses of accepting for want of a descriptor or of memory.",
    client_connections_connecting Gauge connecting: "Connections being made.",
    client_connections_waiting Gauge waiting: "Connections still to be made.",
    client_connect_failures_total Counter connect_failures_total: "Attempts to connect that failed.",
    client_connections_given_up_total Counter given_up_total: "Connections given up after their last attempt.",
    receive_backlog_bytes Gauge recv_backlog_bytes: "Bytes received that no callback has consumed.",
    held_bytes Gauge held_bytes: "Memory held by sessions, mailboxes, rooms and topics.",
    sessions_relieved_total Counter relieved_total: "Sessions ended for want of memory.",
    sessions_rate_limited_total Counter rate_limited_total: "Times that a session brought more than its rate.",
    sessions_room_pauses_total Counter room_pauses_total: "Times that a session was not read because of its rooms' backlog.",
    broadcasts_total Counter broadcasts: "Messages broadcast by sessions.",
    broadcast_deliveries_total Counter deliveries: "Messages queued for members by broadcasts.",
    broadcast_posts_total Counter posts: "Batches posted to other workers by broadcasts.",
    messages_dropped_total Counter dropped: "Messages dropped by a full queue or a lagging member's end.",
    file_operations_refused_total Counter file_refused_total: "File operations over a session's bounds.",
    callback_panics_total Counter handler_panics: "Callbacks that panicked.",
    log_lines_suppressed_total Counter log_lines_suppressed_total: "Log lines over their rate.",
    messages_stale_total Counter stale_total: "Messages that met no live session.",
    recorded_entries_total Counter recorded_total: "Entries written to recordings.",
    recorded_entries_lost_total Counter record_lost_total: "Entries that no recording has.",
    rooms Gauge rooms.live: "Rooms that are open.",
    room_events_total Counter rooms.events_total: "Joins, leaves, packets, calls, timers and ticks of rooms.",
    room_packets_dropped_total Counter rooms.dropped_total: "Packets that found a room's mailbox full.",
    room_panics_total Counter rooms.panics_total: "Room callbacks that panicked; each ended its room.",
    room_outputs_total Counter rooms.parcels_total: "Outputs of rooms, each once for all workers.",
    room_outputs_cut_total Counter rooms.parcels_cut_total: "Outputs of rooms that a worker had no room for.",
    room_messages_lost_total Counter rooms.lost_total: "Messages to members that were in such outputs.",
    room_held_bytes Gauge rooms.held_bytes: "Memory in the mailboxes of rooms.",
    room_handed_over_total Counter rooms.handed_over_total: "Times that a group went on with a room.",
    room_ticks_total Counter rooms.ticks_total: "Ticks of rooms that were run.",
    room_ticks_skipped_total Counter rooms.ticks_skipped_total: "Ticks of rooms that were left out.",
];

/// A group's numbers, with its name for a label.
type OfGroup = (&'static str, Kind, &'static str, fn(&GroupStats) -> u64);

const OF_GROUPS: &[OfGroup] = &[
    ("naksi_group_threads", Kind::Gauge, "Threads of the group.", |group| group.threads as u64),
    ("naksi_group_jobs_waiting", Kind::Gauge, "Jobs that wait.", |group| group.depth as u64),
    ("naksi_group_jobs_waiting_max", Kind::Gauge, "Most jobs that have waited at a time.", |group| {
        group.depth_max as u64
    }),
    ("naksi_group_jobs_posted_total", Kind::Counter, "Jobs taken into the queue.", |group| {
        group.posted_total
    }),
    ("naksi_group_jobs_done_total", Kind::Counter, "Jobs carried out.", |group| group.done_total),
    ("naksi_group_jobs_refused_total", Kind::Counter, "Jobs that found no room.", |group| {
        group.refused_total
    }),
    (
        "naksi_group_jobs_run_by_poster_total",
        Kind::Counter,
        "Jobs that found no room and were run by their poster.",
        |group| group.run_here_total,
    ),
    ("naksi_group_job_panics_total", Kind::Counter, "Jobs that panicked.", |group| group.panics_total),
];

/// Everything, as Prometheus reads it.
pub(crate) fn page(state: &State) -> String {
    let (stats, workers) = (state.service.stats(), state.service.worker_stats());
    let mut page = Page::default();
    for number in OF_WORKERS {
        let mut family = page.family(number.name, number.kind, number.help);
        for (worker, stats) in workers.iter().enumerate() {
            family.sample(&[("worker", &worker.to_string())], (number.of)(stats));
        }
    }
    for number in OF_SERVICE {
        page.family(number.name, number.kind, number.help).sample(&[], (number.of)(&stats));
    }
    by_reason(&mut page, &stats);
    waits(&mut page, &stats);
    groups(&mut page, &stats);
    about_the_process(&mut page, state);
    page.into_text()
}

fn by_reason(page: &mut Page, stats: &Stats) {
    let help = "Sessions that were told that they are over, by reason.";
    let mut ended = page.family("naksi_sessions_disconnected_total", Kind::Counter, help);
    for reason in DisconnectReason::NAMES {
        ended.sample(&[("reason", reason)], stats.ended.get(reason).copied().unwrap_or(0));
    }
    let mut refused =
        page.family("naksi_connections_refused_total", Kind::Counter, "Connections refused at accept.");
    for (reason, count) in [
        ("full", stats.refused_full_total),
        ("address", stats.refused_address_total),
        ("rate", stats.refused_rate_total),
        ("memory", stats.refused_memory_total),
        ("handshakes", stats.refused_handshakes_total),
    ] {
        refused.sample(&[("reason", reason)], count);
    }
}

/// How many completions each wait returned.
fn waits(page: &mut Page, stats: &Stats) {
    let mut so_far = 0;
    // The places are none, 1, 2 to 3, 4 to 7, and so on; the last one has no end.
    let bounded = stats.catches[..naksi::CATCHES - 1].iter().enumerate();
    let within = bounded.map(|(place, count)| {
        so_far += count;
        (((1_u64 << place) - 1) as f64, so_far)
    });
    let within: Vec<(f64, u64)> = within.collect();
    let (count, sum) = (stats.catches.iter().sum(), stats.completions);
    page.family("naksi_wait_completions", Kind::Histogram, "Completions that a wait brought.").histogram(
        &[],
        within.into_iter(),
        count,
        sum,
    );
}

fn groups(page: &mut Page, stats: &Stats) {
    let late = "How long after their deadlines ticks of rooms began.";
    durations(page, "naksi_room_tick_lateness_seconds", late, &[(None, &stats.rooms.jitter)]);
    if stats.groups.is_empty() {
        return;
    }
    for (name, kind, help, of) in OF_GROUPS {
        let mut family = page.family(name, *kind, help);
        stats.groups.iter().for_each(|group| family.sample(&[("group", &group.name)], of(group)));
    }
    let (wait, service): (Vec<_>, Vec<_>) = stats
        .groups
        .iter()
        .map(|group| ((Some(&*group.name), &group.wait), (Some(&*group.name), &group.service)))
        .unzip();
    durations(page, "naksi_group_job_wait_seconds", "How long jobs waited in the queue.", &wait);
    durations(page, "naksi_group_job_run_seconds", "How long jobs took.", &service);
}

fn durations(page: &mut Page, name: &'static str, help: &str, spreads: &[(Option<&str>, &Spread)]) {
    let mut family = page.family(name, Kind::Histogram, help);
    for (group, spread) in spreads {
        let labels: Vec<(&str, &str)> = group.iter().map(|group| ("group", *group)).collect();
        let within = SPREAD_BOUNDS.iter().map(Duration::as_secs_f64).zip(spread.within);
        family.histogram(&labels, within, spread.count, spread.sum.as_secs_f64());
    }
}

fn about_the_process(page: &mut Page, state: &State) {
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("backend", state.service.backend())];
    page.family("naksi_build_info", Kind::Gauge, "What runs; always 1.").sample(&labels, 1);
    page.family("naksi_stopping", Kind::Gauge, "1 from the first moment of a shutdown, 0 before.")
        .sample(&[], u8::from(state.service.is_stopping()));
    let began = state.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    page.family("naksi_start_time_seconds", Kind::Gauge, "When the server began, in seconds since 1970.")
        .sample(&[], began.as_secs_f64());
    if let Some(bytes) = process::resident_bytes() {
        page.family("process_resident_memory_bytes", Kind::Gauge, "Memory of the process.")
            .sample(&[], bytes);
    }
    if let Some(seconds) = process::processor_seconds() {
        page.family("process_cpu_seconds_total", Kind::Counter, "Processor time of the process.")
            .sample(&[], seconds);
    }
    page.family("naksi_admin_connections", Kind::Gauge, "Connections of the admin server.")
        .sample(&[], state.connections());
    let mut refused =
        page.family("naksi_admin_refused_total", Kind::Counter, "What the admin server refused, by reason.");
    state.refused().for_each(|(reason, count)| refused.sample(&[("reason", reason)], count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_of_the_statistics_is_a_metric() {
        let by_reason = ["full", "address", "rate", "memory", "handshakes"]
            .map(|reason| format!("refused_{reason}_total"));
        // The sum over the reasons.
        let summed = ["disconnected_total"];
        let printed = Stats::default().to_string();
        let names: Vec<&str> = printed.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert!(names.len() > 30, "{printed}");
        for name in names {
            let numbers = OF_WORKERS.iter().chain(OF_SERVICE);
            let is_there = numbers
                .map(|number| number.path)
                .chain(by_reason.iter().map(String::as_str))
                .chain(summed)
                .any(|path| path == name);
            assert!(is_there, "{name}");
        }
    }

    #[test]
    fn a_counter_ends_with_total_and_a_gauge_does_not() {
        let groups = OF_GROUPS.iter().map(|(name, kind, _, _)| (*name, *kind));
        for (name, kind) in OF_WORKERS.iter().chain(OF_SERVICE).map(|one| (one.name, one.kind)).chain(groups)
        {
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        }
    }
}
