//! Everything about a run that is not left to chance inside it, and how it is written down.
//!
//! A setting is what a seed stands for; a shrunk one says what it leaves out. In a file it is a few lines
//! of `name value`. Nothing here runs anything.

use std::fmt;

use crate::kernel::fault::{Dialect, FaultKind, FaultPlan};
use naksi_core::prng::Prng;

use super::users;

/// What a world holds in store for its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing goes wrong, and all peers are honest: every one of them must be served.
    Calm,
    /// Only what a port hides from its engine goes wrong: honest peers must be served all the same.
    Gentle,
    /// Everything may go wrong, and peers of every kind come.
    Storm,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// In order.
    Drain,
    /// In order, but in the middle of the storm, while others connect.
    DrainInStorm,
    /// The workers are dropped while their sessions live.
    Drop,
}

/// Everything about a run that is not left to chance inside it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Which kernel is imitated.
    pub dialect: Dialect,
    /// What the world holds in store.
    pub weather: Weather,
    /// How it ends.
    pub stop: Stop,
    /// What goes wrong, and how often.
    pub faults: FaultPlan,
    /// Workers of each service.
    pub workers: usize,
    /// Scripted peers that come.
    pub peers: u64,
    /// How much peers and own clients say: 1 is usual, 3 is three times as many frames.
    pub talk: u64,
    /// Milliseconds between the ticks at which the services' sends leave; 0 is at once, and what seeds have.
    pub tick_ms: u64,
    /// Milliseconds that every turn of the server's workers takes at least; 0 is none, and what seeds have.
    pub turn_ms: u64,
    /// Peers that stay until the end, if they can.
    pub stayers: u64,
    /// Frames or raw bytes.
    pub framed: bool,
    /// Connections that the engine's own client makes to the engine's own server, beside the peers.
    pub own_clients: u32,
    /// Connections that one address may have; one address tries more.
    pub address_max: u32,
    /// Submission entries of each port.
    pub submission_entries: u32,
    /// Completion entries of each port.
    pub completion_entries: u32,
    /// Buffers of each port.
    pub lease_count: u16,
    /// Bytes of each buffer.
    pub lease_bytes: usize,
    /// Completions of one wait at most.
    pub catch_max: usize,
    /// Bytes that a socket holds in each direction.
    pub socket_bytes: usize,
    /// Descriptors of the whole world.
    pub descriptors_max: usize,
    /// Messages that a session may bring in a second; 0 is no limit. See [`Setting::rates`].
    pub rate: u32,
    /// A session that brings more ends, instead of being held back; only floods do then.
    pub rate_ends: bool,
    /// Threads of each of the server's groups; 0 is no groups.
    pub threads: usize,
    /// Jobs that wait in a group at most.
    pub jobs_max: usize,
    /// Bytes that all of the server's sessions may hold together; 0 is no limit.
    pub memory_bytes: usize,
}

/// Kinds that a port hides completely.
fn is_hidden(kind: FaultKind) -> bool {
    use FaultKind::*;
    !matches!(
        kind,
        AcceptAborted
            | PeerReset
            | ConnectRefused
            | ConnectTimedOut
            | SendFailed
            | RecvFailed
            | ClockJump
            | ImmediateError
            | AcceptContextFailed
    )
}

impl Setting {
    /// The setting that a seed stands for. Most worlds are of middling size; one in twelve is extreme.
    pub fn random(seed: u64, dialect: Dialect) -> Self {
        let mut prng = Prng::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ dialect as u64);
        let mut pick = |choices: &[usize]| choices[prng.below(choices.len() as u64) as usize];
        let weather = [Weather::Calm, Weather::Gentle, Weather::Gentle, Weather::Storm]
            [pick(&[0, 1, 2, 3, 3, 3, 3, 3])];
        let extreme = pick(&[0; 11]) + pick(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) == 1;
        let mut size = |usual: &[usize], narrow: &[usize]| pick(if extreme { narrow } else { usual });
        let mut setting = Self {
            seed,
            dialect,
            weather,
            stop: [Stop::Drain, Stop::Drop, Stop::DrainInStorm][size(&[0, 0, 0, 0, 1, 1, 2, 2], &[0, 1, 2])],
            faults: FaultPlan::random(seed),
            workers: size(&[1, 1, 2, 3], &[1, 2, 8]),
            peers: size(&[100, 200, 400], &[20, 60]) as u64,
            talk: 1,
            tick_ms: 0,
            turn_ms: 0,
            stayers: size(&[2, 4], &[1, 6]) as u64,
            framed: size(&[0, 1, 1], &[0, 1]) == 1,
            own_clients: size(&[50, 100, 200], &[0, 20]) as u32,
            address_max: size(&[4, 16], &[1, 4]) as u32,
            submission_entries: size(&[32, 256], &[1, 2, 8]) as u32,
            completion_entries: size(&[64, 512], &[1, 2, 16]) as u32,
            lease_count: size(&[8, 64], &[1, 1, 2]) as u16,
            lease_bytes: size(&[256, 1024, 2048], &[1, 16, 100]),
            catch_max: size(&[32, 256], &[1, 1, 3]),
            socket_bytes: size(&[500, 4096, 16_384], &[32, 100]),
            descriptors_max: size(&[60, 200, 1 << 20, 1 << 20], &[20, 100]),
            // What was thought of later stands behind, so that the rest of an old seed is what it was.
            rate: size(&[0, 0, 0, 6, 20], &[0, 1, 3]) as u32,
            rate_ends: size(&[0, 0, 1], &[0, 1]) == 1 && weather == Weather::Storm,
            threads: size(&[0, 1, 2, 3], &[1, 8]),
            jobs_max: size(&[4, 64], &[1, 2]),
            memory_bytes: 0,
        };
        // So long that what is echoed goes out from where it came in.
        if size(&[0, 0, 1], &[0]) == 1 {
            setting.lease_bytes = 8 * 1024;
        }
        let memory_bytes = size(&[0, 0, 24 * 1024, 10 * 1024], &[0, 0, 8 * 1024]);
        if weather == Weather::Storm {
            setting.memory_bytes = memory_bytes;
        }
        // A service that is dropped has sessions to lose.
        if setting.stop == Stop::Drop {
            setting.stayers += 2;
        }
        // A jump of the clock is longer than what a worker grants its sessions at the end.
        if setting.stop == Stop::DrainInStorm {
            setting.faults = setting.faults.with(FaultKind::ClockJump, 0);
        }
        if weather != Weather::Storm {
            setting.descriptors_max = 1 << 20;
            for kind in FaultKind::ALL {
                if weather == Weather::Calm || !is_hidden(*kind) {
                    setting.faults = setting.faults.with(*kind, 0);
                }
            }
        }
        setting
    }

    /// Whether no socket listens at any address that the engine's own client tries.
    pub fn is_out_of_reach(&self) -> bool {
        self.seed % 17 == 5
    }

    /// Messages and bytes that a session may bring in a second; 0 is no limit. Where a session that brings more ends, all
    /// but floods keep to it.
    pub fn rates(&self) -> (u32, usize) {
        let talk = self.talk as u32;
        match self.rate {
            0 => (0, 0),
            _ if self.rate_ends => (12 * talk, users::FRAME_BYTES_MAX.max(1400 * talk as usize)),
            rate => (rate * talk, users::FRAME_BYTES_MAX),
        }
    }

    /// The kinds of fault that may happen.
    pub fn kinds(&self) -> impl Iterator<Item = FaultKind> + '_ {
        let possible = |kind: &FaultKind| kind.dialect().is_none_or(|only| only == self.dialect);
        FaultKind::ALL.iter().copied().filter(possible).filter(|kind| self.faults.chances(*kind) > 0)
    }

    /// A setting from its text. Whatever it does not say is as the seed has it.
    ///
    /// # Errors
    /// The line that is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut setting: Option<Setting> = None;
        let mut dialect = Dialect::Uring;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let wrong = || format!("`{line}` is no setting");
            let (name, value) = line.split_once(' ').ok_or_else(wrong)?;
            let number = || value.parse::<u64>().map_err(|_| wrong());
            match (name, &mut setting) {
                ("dialect", None) => {
                    dialect = Dialect::ALL.into_iter().find(|one| one.name() == value).ok_or_else(wrong)?;
                }
                ("seed", None) => setting = Some(Setting::random(number()?, dialect)),
                ("workers", Some(setting)) => setting.workers = number()? as usize,
                ("peers", Some(setting)) => setting.peers = number()?,
                ("talk", Some(setting)) => setting.talk = number()?,
                ("tick_ms", Some(setting)) => setting.tick_ms = number()?,
                ("turn_ms", Some(setting)) => setting.turn_ms = number()?,
                ("stayers", Some(setting)) => setting.stayers = number()?,
                ("rate", Some(setting)) => setting.rate = number()? as u32,
                ("memory_bytes", Some(setting)) => setting.memory_bytes = number()? as usize,
                ("threads", Some(setting)) => setting.threads = number()? as usize,
                ("own_clients", Some(setting)) => setting.own_clients = number()? as u32,
                ("without", Some(setting)) => {
                    let named = |kind: &&FaultKind| format!("{kind:?}") == value;
                    let kind = FaultKind::ALL.iter().find(named).ok_or_else(wrong)?;
                    setting.faults = setting.faults.clone().with(*kind, 0);
                }
                _ => return Err(wrong()),
            }
        }
        setting.ok_or_else(|| "no seed".to_owned())
    }
}

impl fmt::Display for Setting {
    /// Only what differs from the seed's own setting.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Setting::random(self.seed, self.dialect);
        writeln!(f, "dialect {}\nseed {}", self.dialect.name(), self.seed)?;
        for (name, mine, theirs) in [
            ("workers", self.workers as u64, usual.workers as u64),
            ("peers", self.peers, usual.peers),
            ("talk", self.talk, usual.talk),
            ("tick_ms", self.tick_ms, usual.tick_ms),
            ("turn_ms", self.turn_ms, usual.turn_ms),
            ("stayers", self.stayers, usual.stayers),
            ("rate", self.rate.into(), usual.rate.into()),
            ("memory_bytes", self.memory_bytes as u64, usual.memory_bytes as u64),
            ("threads", self.threads as u64, usual.threads as u64),
            ("own_clients", u64::from(self.own_clients), u64::from(usual.own_clients)),
        ] {
            if mine != theirs {
                writeln!(f, "{name} {mine}")?;
            }
        }
        for kind in usual.kinds().filter(|kind| self.faults.chances(*kind) == 0) {
            writeln!(f, "without {kind:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_survives_its_text() {
        for seed in 0..200 {
            let mut setting = Setting::random(seed, Dialect::ALL[seed as usize % 2]);
            setting.peers = 3;
            setting.workers = 1;
            setting.talk = 3;
            (setting.tick_ms, setting.turn_ms) = (seed % 3, seed % 4);
            (setting.rate, setting.threads) = (seed as u32 % 4, seed as usize % 5);
            setting.memory_bytes = seed as usize % 6;
            let first = setting.kinds().next();
            if let Some(kind) = first {
                setting.faults = setting.faults.clone().with(kind, 0);
            }
            let again = Setting::parse(&setting.to_string()).expect("its own text");
            assert_eq!(format!("{setting:?}"), format!("{again:?}"));
        }
        assert!(Setting::parse("peers 3").is_err() && Setting::parse("seed 1\nwithout Anything").is_err());
    }
}
