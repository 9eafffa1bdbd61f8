//! Connections that exchange one message and then are silent: for memory, and for how a server ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::crowd::{Crowd, READ_BYTES};
use super::pattern::Pattern;

/// What every connection sends once, so that a server allocates its state for it.
const TOUCH_BYTES: usize = 64;
/// How long the touches may take to come back.
const TOUCHED_WITHIN: Duration = Duration::from_secs(20);

/// Connections whose message came back, and that are silent from then on.
pub(crate) struct Quiet(Crowd);

impl Quiet {
    /// Connects, and exchanges one message on each.
    pub(crate) fn connect(address: SocketAddr, connections: usize) -> Result<Self> {
        let mut crowd = Crowd::connect(address, connections)?;
        let pattern = Pattern::new();
        for number in 0..connections {
            crowd.write(number, pattern.run(number as u64, 0, TOUCH_BYTES))?;
        }
        let (mut buffer, mut back, mut whole) = (vec![0; READ_BYTES], vec![0; connections], 0);
        let (deadline, mut ready) = (Instant::now() + TOUCHED_WITHIN, Vec::new());
        while whole < connections {
            ensure!(Instant::now() < deadline, "only {whole} of {connections} were answered");
            crowd.wait(deadline, &mut ready)?;
            for one in ready.iter().filter(|one| one.readable) {
                let Some(read) = crowd.read(one.number, &mut buffer)? else { continue };
                let wanted = pattern.run(one.number as u64, back[one.number] as u64, read);
                ensure!(buffer[..read] == *wanted, "connection {}: other bytes came back", one.number);
                back[one.number] += read;
                whole += usize::from(back[one.number] == TOUCH_BYTES);
            }
        }
        Ok(Self(crowd))
    }

    /// For a while, closes each connection that the server ends.
    pub(crate) fn see_off(&mut self, until: Instant) -> Result<()> {
        let (mut ready, mut buffer) = (Vec::new(), [0; TOUCH_BYTES]);
        self.0.wait(until, &mut ready)?;
        for one in ready.iter().filter(|one| one.readable) {
            // An orderly end and a reset count the same here: the server has finished with it.
            if self.0.read(one.number, &mut buffer).is_err() {
                self.0.close(one.number)?;
            }
        }
        Ok(())
    }
}
