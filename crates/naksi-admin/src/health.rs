//! Whether a service is alive: each worker turns when it is asked to. No lock of a worker is taken for it.

use std::time::{Duration, Instant};

use naksi::ServiceHandle;

/// How often the workers are looked at until they have turned.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Has every worker turn within this time; the numbers of those that have not. None of a service that stops: its workers
/// end one after the other.
pub(crate) async fn workers_stuck(service: &ServiceHandle, within: Duration) -> Vec<usize> {
    let turns = || service.worker_stats().into_iter().map(|worker| worker.turns);
    let before: Vec<u64> = turns().collect();
    let began = Instant::now();
    service.wake_workers();
    loop {
        let stuck: Vec<usize> = before
            .iter()
            .zip(turns())
            .enumerate()
            .filter(|(_, (old, new))| *old == new)
            .map(|(worker, _)| worker)
            .collect();
        if stuck.is_empty() || service.is_stopping() {
            return Vec::new();
        }
        if began.elapsed() >= within {
            return stuck;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
