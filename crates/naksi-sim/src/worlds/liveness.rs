//! What a peer that stays must get after the storm: its echo, and what the others, a room and the data plane have for it.
//!
//! Each of them says a few frames that ask for it; the run waits until all who still stand have everything. Nothing here
//! knows a port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::users::LATEST_KEYS;

/// What one of them has got.
#[derive(Debug, Default)]
pub struct Got {
    /// The name of its session.
    pub name: u64,
    /// Its fresh nonce came back.
    pub nonce: bool,
    /// The sessions that it heard in the topic of those that stay.
    pub hails: BTreeSet<u64>,
    /// It heard in that topic what another thread said there.
    pub hailed_from_elsewhere: bool,
    /// Of so many keys it has the latest value.
    pub latest: BTreeSet<u8>,
    /// It was told that a room put it out.
    pub put_out: bool,
}

/// Those that stay and stand, by their own address.
#[derive(Debug, Default)]
pub struct Standing(BTreeMap<SocketAddr, Got>);

impl Standing {
    /// One more stands.
    pub fn stands(&mut self, own: SocketAddr) {
        self.0.insert(own, Got::default());
    }

    /// One does not stand any more.
    pub fn is_gone(&mut self, own: SocketAddr) {
        self.0.remove(&own);
    }

    /// What the one at this address has got, if it stands.
    pub fn of(&mut self, own: Option<SocketAddr>) -> Option<&mut Got> {
        own.and_then(|own| self.0.get_mut(&own))
    }

    /// How many stand.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether no session is live.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a session lacks, if any lacks something. Without frames there is only the nonce.
    pub fn lacks(&self, framed: bool) -> Option<String> {
        let names: BTreeSet<u64> = self.0.values().map(|got| got.name).collect();
        self.0.iter().find_map(|(own, got)| {
            let what = if !got.nonce {
                "its nonce"
            } else if !framed {
                return None;
            } else if got.latest.len() < usize::from(LATEST_KEYS) {
                "the latest of every key"
            } else if !got.put_out {
                "the word that a room put it out"
            } else if !got.hailed_from_elsewhere {
                "what another thread said to its topic"
            } else if names.iter().any(|name| *name != got.name && !got.hails.contains(name)) {
                "what the others said to its topic"
            } else {
                return None;
            };
            Some(format!("{own} lacks {what}: {got:?}"))
        })
    }
}
