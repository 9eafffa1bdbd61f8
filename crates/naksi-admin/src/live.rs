//! The live page and what it is made of: the statistics as JSON, once (`/api/stats`) and every second as server-sent events
//! (`/api/events`). Nothing is sampled while no page is open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use naksi::Stats;
use naksi::group::Spread;
use serde_json::{Value, json};

use crate::http::State;
use crate::process;

/// Streams of events at a time.
pub(crate) const STREAMS_MAX: usize = 16;
/// Between two events of a stream.
const EVERY: Duration = Duration::from_secs(1);

const HTML: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");
/// Nothing but the server's own files runs or is asked for, and no other page shows this one inside itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn html() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)], HTML)
}

pub(crate) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)
}

pub(crate) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

pub(crate) async fn once(extract::State(state): extract::State<Arc<State>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], snapshot(&state).to_string())
}

pub(crate) async fn events(extract::State(state): extract::State<Arc<State>>) -> Response {
    let Ok(permit) = Arc::clone(&state.streams).try_acquire_owned() else {
        state.stream_refused();
        return (StatusCode::SERVICE_UNAVAILABLE, "16 streams of events are open; close one\n")
            .into_response();
    };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    // The permit is given back with the stream.
    let events = stream::unfold((state, ticks, permit), async |(state, mut ticks, permit)| {
        ticks.tick().await;
        let event = Event::default().data(snapshot(&state).to_string());
        Some((Ok::<Event, Infallible>(event), (state, ticks, permit)))
    });
    Sse::new(events).into_response()
}

/// Everything that the page shows; times in milliseconds since 1970, totals since the start.
fn snapshot(state: &State) -> Value {
    let (stats, workers) = (state.service.stats(), state.service.worker_stats());
    let millis = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    };
    json!({
        "at_ms": millis(SystemTime::now()),
        "started_at_ms": millis(state.began),
        "version": env!("CARGO_PKG_VERSION"),
        "backend": state.service.backend(),
        "stopping": state.service.is_stopping(),
        "sessions": stats.live,
        "connected_total": stats.connected_total,
        "disconnected_total": stats.disconnected_total,
        "ended": stats.ended,
        "refused": {
            "full": stats.refused_full_total,
            "address": stats.refused_address_total,
            "rate": stats.refused_rate_total,
            "memory": stats.refused_memory_total,
        },
        "received_bytes": stats.recv_bytes,
        "sent_bytes": stats.sent_bytes,
        "packets": stats.packets,
        "dropped": stats.dropped,
        "callback_panics": stats.handler_panics,
        "held_bytes": stats.held_bytes,
        "resident_bytes": process::resident_bytes(),
        "processor_seconds": process::processor_seconds(),
        "workers": workers.iter().map(worker).collect::<Vec<_>>(),
        "rooms": {
            "live": stats.rooms.live,
            "events": stats.rooms.events_total,
            "dropped": stats.rooms.dropped_total,
            "ticks": stats.rooms.ticks_total,
            "ticks_skipped": stats.rooms.ticks_skipped_total,
            "lateness": spread(&stats.rooms.jitter),
        },
        "groups": stats.groups.iter().map(|group| json!({
            "name": group.name,
            "threads": group.threads,
            "waiting": group.depth,
            "done": group.done_total,
            "refused": group.refused_total,
            "wait": spread(&group.wait),
            "run": spread(&group.service),
        })).collect::<Vec<_>>(),
    })
}

fn worker(stats: &Stats) -> Value {
    json!({
        "sessions": stats.live,
        "received_bytes": stats.recv_bytes,
        "sent_bytes": stats.sent_bytes,
        "packets": stats.packets,
        "completions": stats.completions,
        "system_calls": stats.enters,
        "operations_in_flight": stats.in_flight,
    })
}

fn spread(spread: &Spread) -> Value {
    let millis = |span: Duration| span.as_secs_f64() * 1e3;
    json!({
        "count": spread.count,
        "p50_ms": millis(spread.p50),
        "p99_ms": millis(spread.p99),
        "max_ms": millis(spread.max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_nothing_but_its_own_server_and_has_no_inline_code() {
        for file in [HTML, SCRIPT, STYLE] {
            let foreign = file.replace("http://www.w3.org/2000/svg", "");
            assert!(!foreign.contains("http") && !foreign.contains("//cdn"), "{foreign}");
        }
        assert!(!HTML.contains("<style") && !HTML.contains("style=") && !HTML.contains("onclick"));
        assert_eq!(HTML.matches("<script").count(), HTML.matches("<script src=\"page.js\"").count());
        // Names of reasons and groups are text, and never read as markup.
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
    }
}
