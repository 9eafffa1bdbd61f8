//! Busy-polling before sleeping, where that has paid off recently.
//!
//! A wake-up takes longer than most waits between two messages of a busy connection. Spinning keeps a processor busy,
//! so a worker spins only after short waits, and never while it has work.

use std::time::Duration;

use naksi_core::completion::Completion;
use naksi_core::tick::Tick;
use naksi_os::port::{PollStatus, Port, PortError};

/// Most credit that consecutive short waits add up to. A worker spins as long as it has any; a long wait halves it.
const CREDIT_MAX: u8 = 4;

/// How long a worker busy-polls before it sleeps; 0 by default.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    span: Duration,
    credit: u8,
}

impl Spin {
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, credit: 0 }
    }

    /// Waits on a port as the port itself would, but polls first if a completion is likely soon.
    pub(crate) fn wait<P: Port>(
        &mut self,
        port: &mut P,
        completions: &mut Vec<Completion>,
        until: Option<Tick>,
    ) -> Result<PollStatus, PortError> {
        if self.span.is_zero() || until == Some(Tick::ZERO) {
            return port.wait(completions, until);
        }
        let began = port.now();
        let end = until.map_or(began + self.span, |until| until.min(began + self.span));
        while self.credit > 0 {
            let status = port.wait(completions, Some(Tick::ZERO))?;
            if !completions.is_empty() {
                self.judge(true);
                return Ok(status);
            }
            if port.now() >= end {
                break;
            }
            std::hint::spin_loop();
        }
        let status = port.wait(completions, until)?;
        // A sleep takes longer than the wait that it is for, by about the time of a wake-up.
        self.judge(!completions.is_empty() && port.now().since(began) <= 2 * self.span);
        Ok(status)
    }

    fn judge(&mut self, short: bool) {
        self.credit = if short { (self.credit + 1).min(CREDIT_MAX) } else { self.credit / 2 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_long_stops_spinning_and_who_waits_short_begins_again() {
        let mut spin = Spin::new(Duration::from_micros(50));
        assert_eq!(spin.credit, 0, "nothing speaks for spinning yet");
        (0..10).for_each(|_| spin.judge(true));
        assert_eq!(spin.credit, CREDIT_MAX);
        (0..3).for_each(|_| spin.judge(false));
        assert_eq!(spin.credit, 0, "three long waits are enough to give up");
        spin.judge(true);
        assert!(spin.credit > 0);
    }
}
