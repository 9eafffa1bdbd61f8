//! Looking again for a while before sleeping, wherever that has paid off lately.
//!
//! Being woken costs more than most waits between two messages of a busy connection last. A worker that
//! spins keeps its processor busy, so it does so only after waits that were short, and never while there is
//! work. Nothing here knows what is waited for.

use std::time::Duration;

use naksi_core::completion::Completion;
use naksi_core::tick::Tick;
use naksi_os::port::{PollStatus, Port, PortError};

/// Credit that short waits in a row can add up to. A worker spins as long as it has any, and a long wait halves it.
const CREDIT_MAX: u8 = 4;

/// How long a worker looks before it sleeps; not at all by default.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    span: Duration,
    credit: u8,
}

impl Spin {
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, credit: 0 }
    }

    /// Waits on a port as the port itself would, but looks for a while first if that is likely to be enough.
    pub(crate) fn wait<P: Port>(
        &mut self,
        port: &mut P,
        caught: &mut Vec<Completion>,
        until: Option<Tick>,
    ) -> Result<PollStatus, PortError> {
        if self.span.is_zero() || until == Some(Tick::ZERO) {
            return port.wait(caught, until);
        }
        let began = port.now();
        let end = until.map_or(began + self.span, |until| until.min(began + self.span));
        while self.credit > 0 {
            let status = port.wait(caught, Some(Tick::ZERO))?;
            if !caught.is_empty() {
                self.judge(true);
                return Ok(status);
            }
            if port.now() >= end {
                break;
            }
            std::hint::spin_loop();
        }
        let status = port.wait(caught, until)?;
        // A sleep takes longer than the wait that it was for, by about as much as it takes to be woken.
        self.judge(!caught.is_empty() && port.now().since(began) <= 2 * self.span);
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
