//! Admission control: limits that are enforced at accept, before a session or a buffer exists.
//!
//! A token bucket for the rate of accepts, and a count for each address. Loopback addresses are exempt unless the
//! limits say otherwise.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::limits::Limits;
use crate::tick::Tick;

/// Why a connection was refused at accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The service has as many sessions as it may have.
    SessionsMax,
    /// That address has as many connections as it may have.
    AddressMax,
    /// Too many connections in the last second.
    RateMax,
    /// Sessions hold nearly as much as they may.
    MemoryMax,
    /// As many connections as may be are in the handshake of their transport.
    HandshakesMax,
}

impl Denied {
    /// The name of the limit.
    pub fn limit(self) -> &'static str {
        match self {
            Denied::SessionsMax => "sessions_max",
            Denied::AddressMax => "connections_per_address_max",
            Denied::RateMax => "accepts_per_second_max",
            Denied::MemoryMax => "memory_bytes_max",
            Denied::HandshakesMax => "handshakes_max",
        }
    }
}

/// The doorkeeper of one service.
#[derive(Debug, Default)]
pub struct Admission {
    /// Connections by address; an IPv6 address counts by its /64, which usually belongs to one customer.
    by_address: BTreeMap<IpAddr, u32>,
    live: usize,
    /// Accepts that the bucket still holds, in billionths.
    credit: u128,
    refilled_at: Option<Tick>,
    refused: Refused,
}

/// Number of refused addresses that are remembered, the most recent ones: an attacker may use any number of
/// addresses.
const REFUSED_MAX: usize = 1024;

/// The addresses that were refused last, each once.
#[derive(Debug, Default)]
struct Refused {
    known: BTreeSet<IpAddr>,
    in_order: VecDeque<IpAddr>,
}

impl Admission {
    /// Admits a connection, or says why not. Each admitted connection must be reported to [`Admission::left`].
    ///
    /// # Errors
    /// The first limit that the connection exceeds.
    pub fn enter(&mut self, address: IpAddr, now: Tick, limits: &Limits) -> Result<(), Denied> {
        if self.live >= limits.sessions_max {
            return Err(Denied::SessionsMax);
        }
        let exempt = limits.loopback_exempt && address.to_canonical().is_loopback();
        if !exempt {
            let count = self.by_address.get(&group(address)).copied().unwrap_or(0);
            if count >= limits.connections_per_address_max {
                return Err(Denied::AddressMax);
            }
            if !self.spend(now, limits) {
                return Err(Denied::RateMax);
            }
        }
        *self.by_address.entry(group(address)).or_default() += 1;
        self.live += 1;
        Ok(())
    }

    /// Records that a connection was refused. Returns whether its address is not among the last 1,024 refused
    /// addresses.
    pub fn is_first_refusal(&mut self, address: IpAddr) -> bool {
        let Refused { known, in_order } = &mut self.refused;
        if !known.insert(group(address)) {
            return false;
        }
        in_order.push_back(group(address));
        if in_order.len() > REFUSED_MAX
            && let Some(oldest) = in_order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }

    /// A connection that was let in is gone.
    pub fn left(&mut self, address: IpAddr) {
        let key = group(address);
        let count = self.by_address.get_mut(&key).expect("a connection that leaves was admitted");
        *count -= 1;
        if *count == 0 {
            self.by_address.remove(&key);
        }
        self.live -= 1;
    }

    /// Connections that were let in and have not left.
    pub fn live(&self) -> usize {
        self.live
    }

    fn spend(&mut self, now: Tick, limits: &Limits) -> bool {
        const ONE: u128 = 1_000_000_000;
        let full = u128::from(limits.accepts_per_second_max) * ONE;
        self.credit = match self.refilled_at {
            None => full,
            Some(then) => {
                let earned = now.since(then).as_nanos() * u128::from(limits.accepts_per_second_max);
                full.min(self.credit + earned)
            }
        };
        // The workers' clocks differ by up to a turn; a token must not be earned twice.
        self.refilled_at = self.refilled_at.max(Some(now));
        if self.credit < ONE {
            return false;
        }
        self.credit -= ONE;
        true
    }
}

fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn limits() -> Limits {
        Limits {
            connections_per_address_max: 2,
            accepts_per_second_max: 3,
            sessions_max: 4,
            ..Limits::default()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_gets_its_share_and_gets_it_again_after_leaving() {
        let (mut door, limits) = (Admission::default(), limits());
        let now = Tick::ZERO;
        assert_eq!(door.enter(ip("192.0.2.1"), now, &limits), Ok(()));
        assert_eq!(door.enter(ip("192.0.2.1"), now, &limits), Ok(()));
        assert_eq!(door.enter(ip("192.0.2.1"), now, &limits), Err(Denied::AddressMax));
        assert_eq!(door.enter(ip("192.0.2.2"), now, &limits), Ok(()));
        door.left(ip("192.0.2.1"));
        let later = now + Duration::from_secs(1);
        assert_eq!(door.enter(ip("192.0.2.1"), later, &limits), Ok(()));
    }

    /// A model that counts connections one by one and earns accepts one by one.
    #[test]
    fn the_door_does_what_counting_one_by_one_does() {
        let mut chance = crate::prng::Prng::new(7);
        for round in 0..200 {
            let limits = Limits {
                connections_per_address_max: 1 + chance.below(3) as u32,
                accepts_per_second_max: 1 + chance.below(4) as u32,
                sessions_max: 1 + chance.below(6) as usize,
                ..Limits::default()
            };
            let rate = u64::from(limits.accepts_per_second_max);
            let (mut door, mut inside) = (Admission::default(), Vec::new());
            // In billionths of an accept.
            let (mut credit, mut now) = (rate * 1_000_000_000, Tick::ZERO);
            for _ in 0..40 {
                let span = chance.below(400_000_000);
                now = now + Duration::from_nanos(span);
                let address = ip(&format!("192.0.2.{}", chance.below(3)));
                let same = inside.iter().filter(|other| **other == address).count();
                credit = (rate * 1_000_000_000).min(credit + span * rate);
                let expected = if inside.len() >= limits.sessions_max {
                    Err(Denied::SessionsMax)
                } else if same >= limits.connections_per_address_max as usize {
                    Err(Denied::AddressMax)
                } else if credit < 1_000_000_000 {
                    Err(Denied::RateMax)
                } else {
                    credit -= 1_000_000_000;
                    inside.push(address);
                    Ok(())
                };
                assert_eq!(door.enter(address, now, &limits), expected, "round {round}");
                if !inside.is_empty() && chance.below(3) == 0 {
                    door.left(inside.swap_remove(chance.below(inside.len() as u64) as usize));
                }
                assert_eq!(door.live(), inside.len());
            }
            inside.into_iter().for_each(|address| door.left(address));
            assert_eq!(
                (door.live(), door.by_address.len()),
                (0, 0),
                "nothing is kept of those who have left"
            );
        }
    }

    #[test]
    fn a_refusal_names_the_limit_that_stands_against_it() {
        use Denied::{AddressMax, HandshakesMax, MemoryMax, RateMax, SessionsMax};
        assert_eq!(
            [SessionsMax, AddressMax, RateMax, MemoryMax, HandshakesMax].map(Denied::limit),
            [
                "sessions_max",
                "connections_per_address_max",
                "accepts_per_second_max",
                "memory_bytes_max",
                "handshakes_max"
            ]
        );
    }

    #[test]
    fn the_first_refusal_of_an_address_is_told_apart_and_the_memory_of_it_has_an_end() {
        let mut door = Admission::default();
        assert!(door.is_first_refusal(ip("192.0.2.1")) && !door.is_first_refusal(ip("192.0.2.1")));
        assert!(door.is_first_refusal(ip("2001:db8::1")) && !door.is_first_refusal(ip("2001:db8::2")));
        for number in 0..100_000_u32 {
            assert!(door.is_first_refusal(IpAddr::from(number.to_be_bytes())));
            assert!(door.refused.known.len() <= REFUSED_MAX && door.refused.in_order.len() <= REFUSED_MAX);
        }
        assert!(!door.is_first_refusal(IpAddr::from(99_999_u32.to_be_bytes())));
        let kept = u32::try_from(REFUSED_MAX).expect("a thousand");
        assert!(
            !door.is_first_refusal(IpAddr::from((100_000 - kept).to_be_bytes())),
            "the oldest that is known"
        );
        assert!(door.is_first_refusal(ip("192.0.2.1")), "it was long ago");
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let (mut door, limits) = (Admission::default(), limits());
        assert_eq!(door.enter(ip("2001:db8::1"), Tick::ZERO, &limits), Ok(()));
        assert_eq!(door.enter(ip("2001:db8::2"), Tick::ZERO, &limits), Ok(()));
        assert_eq!(door.enter(ip("2001:db8::3"), Tick::ZERO, &limits), Err(Denied::AddressMax));
        assert_eq!(
            door.enter(ip("2001:db8:0:1::1"), Tick::ZERO, &limits),
            Ok(()),
            "the next network is another"
        );
    }

    #[test]
    fn the_rate_is_a_bucket_that_refills() {
        let limits = Limits { accepts_per_second_max: 2, sessions_max: 100, ..Limits::default() };
        let mut door = Admission::default();
        let now = Tick::ZERO;
        for host in 1..=2 {
            assert_eq!(door.enter(ip(&format!("192.0.2.{host}")), now, &limits), Ok(()));
        }
        assert_eq!(door.enter(ip("192.0.2.9"), now, &limits), Err(Denied::RateMax));
        let later = now + Duration::from_millis(500);
        assert_eq!(door.enter(ip("192.0.2.9"), later, &limits), Ok(()));
        assert_eq!(door.enter(ip("192.0.2.10"), later, &limits), Err(Denied::RateMax));
    }

    #[test]
    fn two_workers_whose_clocks_differ_refill_the_bucket_once() {
        let limits = Limits { accepts_per_second_max: 2, sessions_max: 100, ..Limits::default() };
        let mut door = Admission::default();
        let early = Tick::ZERO;
        let late = early + Duration::from_millis(500);
        let host = |number: u32| ip(&format!("192.0.2.{number}"));
        let entered = (1..=20).filter(|number| {
            let now = if number % 2 == 0 { early } else { late };
            door.enter(host(*number), now, &limits).is_ok()
        });
        assert_eq!(entered.count(), 2);
    }

    #[test]
    fn loopback_is_exempt_until_it_is_not_but_the_sessions_maximum_holds() {
        let (mut door, exempt) = (Admission::default(), limits());
        for _ in 0..4 {
            assert_eq!(door.enter(ip("127.0.0.1"), Tick::ZERO, &exempt), Ok(()));
        }
        assert_eq!(door.enter(ip("127.0.0.1"), Tick::ZERO, &exempt), Err(Denied::SessionsMax));
        let strict = Limits { loopback_exempt: false, ..limits() };
        let mut door = Admission::default();
        for expected in [Ok(()), Ok(()), Err(Denied::AddressMax)] {
            assert_eq!(door.enter(ip("127.0.0.1"), Tick::ZERO, &strict), expected);
        }
    }
}
