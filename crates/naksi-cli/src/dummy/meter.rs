//! The counts and measurements of one worker's clients, and the sum over all workers.
//!
//! Each worker writes its own meter; the conductor reads them a few times a second and merges them at the end.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::plan::Plan;
use super::world::Sights;

/// Longer latencies count as this long.
const LONGEST_NANOS: u64 = 120_000_000_000;

/// The counters of one worker.
pub(crate) struct Meter {
    /// Connections that were made, are ready to begin, and have ended.
    pub(crate) connected: u64,
    pub(crate) ready: u64,
    pub(crate) gone: u64,
    /// Messages that were sent, and deliveries that they should cause.
    pub(crate) sent: u64,
    pub(crate) owed: u64,
    /// Deliveries that came and were as they should be.
    pub(crate) received: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    pub(crate) corrupt: u64,
    /// Valid deliveries of another run in the same room.
    pub(crate) foreign: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    /// Complete visits of the storm: connected, echoed, closed.
    pub(crate) visits: u64,
    /// Visits whose echo had not come when the run was over.
    pub(crate) unanswered: u64,
    /// What the dummies of a world received about each other.
    pub(crate) sights: Sights,
    pub(crate) latency: Histogram<u64>,
    pub(crate) connect: Histogram<u64>,
    /// Connections that ended before the run did, by reason.
    pub(crate) surprises: BTreeMap<&'static str, u64>,
    /// What each member saw, handed in when its connection ended.
    pub(crate) ledgers: Vec<Ledger>,
}

/// What one member sent and got.
pub(crate) struct Ledger {
    pub(crate) member: u32,
    pub(crate) sent: u32,
    /// Different messages received from each member of the room; in an echo, only from itself.
    pub(crate) came: Vec<u32>,
    /// Whether it stayed until the end.
    pub(crate) stayed: bool,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            connected: 0,
            ready: 0,
            gone: 0,
            sent: 0,
            owed: 0,
            received: 0,
            duplicated: 0,
            out_of_order: 0,
            corrupt: 0,
            foreign: 0,
            bytes_out: 0,
            bytes_in: 0,
            visits: 0,
            unanswered: 0,
            sights: Sights::default(),
            latency: histogram(),
            connect: histogram(),
            surprises: BTreeMap::new(),
            ledgers: Vec::new(),
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NANOS, 3).expect("these bounds are sound")
}

impl Meter {
    /// Adds another worker's figures to these.
    fn add(&mut self, other: &mut Meter) {
        self.connected += other.connected;
        self.ready += other.ready;
        self.gone += other.gone;
        self.sent += other.sent;
        self.owed += other.owed;
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.visits += other.visits;
        self.unanswered += other.unanswered;
        self.sights.add(&other.sights);
        self.latency.add(&other.latency).expect("the same bounds");
        self.connect.add(&other.connect).expect("the same bounds");
        for (reason, count) in &other.surprises {
            *self.surprises.entry(reason).or_default() += count;
        }
        self.ledgers.append(&mut other.ledgers);
    }
}

/// Merges the meters of all workers. It takes their ledgers, so it is called once, at the end.
pub(crate) fn collect(plan: &Plan) -> Meter {
    let mut sum = Meter::default();
    for worker in 0..plan.meters.len() {
        sum.add(&mut plan.meter(worker));
    }
    sum
}

/// The figures that a live view shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Glance {
    pub(crate) ready: u64,
    pub(crate) connected: u64,
    pub(crate) gone: u64,
    pub(crate) surprises: u64,
    pub(crate) sent: u64,
    pub(crate) owed: u64,
    pub(crate) received: u64,
    pub(crate) wrong: u64,
    pub(crate) visits: u64,
    /// The worst worker's 99th percentile.
    pub(crate) p99: u64,
}

/// A quick look at all workers.
pub(crate) fn glance(plan: &Plan) -> Glance {
    let mut sum = Glance::default();
    for worker in 0..plan.meters.len() {
        let meter = plan.meter(worker);
        sum.ready += meter.ready;
        sum.connected += meter.connected;
        sum.gone += meter.gone;
        sum.surprises += meter.surprises.values().sum::<u64>();
        sum.sent += meter.sent;
        sum.owed += meter.owed;
        sum.received += meter.received;
        sum.wrong += meter.duplicated + meter.out_of_order + meter.corrupt;
        sum.visits += meter.visits;
        sum.p99 = sum.p99.max(meter.latency.value_at_quantile(0.99));
    }
    sum
}

/// Deliveries that are missing among members that stayed until the end.
///
/// What a client that left early sent or should have received proves nothing about the server.
pub(crate) fn lost(ledgers: &[Ledger], rooms: u32) -> u64 {
    let mut sent = BTreeMap::new();
    for ledger in ledgers.iter().filter(|ledger| ledger.stayed) {
        sent.insert(ledger.member, ledger.sent);
    }
    let missing = |ledger: &Ledger| -> u64 {
        let room = ledger.member % rooms;
        let from = |(place, came): (usize, &u32)| {
            let sender = u32::try_from(place).ok()?.checked_mul(rooms)?.checked_add(room)?;
            Some(u64::from(sent.get(&sender)?.saturating_sub(*came)))
        };
        ledger.came.iter().enumerate().filter_map(from).sum()
    };
    ledgers.iter().filter(|ledger| ledger.stayed).map(missing).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_stayed_can_lose_or_be_lost() {
        // Two rooms; members 0, 2 and 4 are in the first one, and 4 left early.
        let ledger =
            |member, sent, came: [u32; 3], stayed| Ledger { member, sent, came: came.to_vec(), stayed };
        let ledgers =
            [ledger(0, 10, [10, 8, 3], true), ledger(2, 9, [10, 9, 3], true), ledger(4, 5, [0, 0, 0], false)];
        assert_eq!(lost(&ledgers, 2), 1, "member 0 missed one of member 2's nine");
    }
}
