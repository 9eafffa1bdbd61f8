//! Rate limits for log lines: per subject, a number of lines a second; further lines are suppressed and counted.
//!
//! A burst of refusals or panics must not become a burst of log lines, which people read and disks store. The first
//! line after a suppressed span tells how many lines were suppressed. Time is passed in as a tick.

use std::time::Duration;

use naksi_core::tick::Tick;

/// What a log line is about; each subject has its own rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    AcceptLost,
    AcceptPaused,
    Refused,
    FirstRefused,
    Unhandled,
    CallbackPanicked,
    GoodbyePanicked,
    FactoryPanicked,
    GivenUp,
    SlowConsumer,
    MemoryPressure,
    VersionRefused,
}

/// Subjects in all.
const SUBJECTS: usize = Subject::VersionRefused as usize + 1;

/// What was logged about one subject in the current second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Talk {
    began: Option<Tick>,
    lines: u32,
    suppressed: u64,
}

impl Talk {
    /// Whether one more line is written, and how many were not since the last one; `None` for a line over the rate.
    pub(crate) fn admit(&mut self, now: Tick, lines_per_second_max: u32) -> Option<u64> {
        if self.began.is_none_or(|began| now.since(began) >= Duration::from_secs(1)) {
            (self.began, self.lines) = (Some(now), 0);
        }
        if self.lines >= lines_per_second_max {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// The restraint of one worker.
#[derive(Debug)]
pub(crate) struct LogLimiter {
    lines_per_second_max: u32,
    talks: [Talk; SUBJECTS],
    suppressed_total: u64,
}

impl LogLimiter {
    pub(crate) fn new(lines_per_second_max: u32) -> Self {
        Self { lines_per_second_max, talks: [Talk::default(); SUBJECTS], suppressed_total: 0 }
    }

    /// Writes a log line, or counts it as suppressed. `say` gets the number of lines suppressed since the last one
    /// that was written, if any were.
    pub(crate) fn say(&mut self, subject: Subject, now: Tick, say: impl FnOnce(Option<u64>)) {
        match self.talks[subject as usize].admit(now, self.lines_per_second_max) {
            Some(suppressed) => say((suppressed > 0).then_some(suppressed)),
            None => self.suppressed_total += 1,
        }
    }

    /// Lines suppressed since the start.
    pub(crate) fn suppressed_total(&self) -> u64 {
        self.suppressed_total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_has_its_own_share_and_the_next_line_says_what_was_suppressed() {
        let mut log_limiter = LogLimiter::new(3);
        let mut said = Vec::new();
        let mut now = Tick::from_nanos(5);
        for _ in 0..10 {
            log_limiter.say(Subject::Refused, now, |suppressed| said.push(suppressed));
            now = now + Duration::from_millis(50);
        }
        assert_eq!(said, [None; 3]);
        log_limiter.say(Subject::CallbackPanicked, now, |suppressed| said.push(suppressed));
        assert_eq!(said.len(), 4, "one subject's storm is not another's silence");
        now = now + Duration::from_millis(500);
        for _ in 0..2 {
            log_limiter.say(Subject::Refused, now, |suppressed| said.push(suppressed));
        }
        assert_eq!(said[4..], [Some(7), None]);
        assert_eq!(log_limiter.suppressed_total(), 7);
    }

    #[test]
    fn in_every_second_of_a_storm_the_share_is_said_and_no_more() {
        let mut log_limiter = LogLimiter::new(100);
        let mut said = 0;
        for millis in 0..10_000 {
            let now = Tick::ZERO + Duration::from_millis(millis);
            for _ in 0..5 {
                log_limiter.say(Subject::AcceptLost, now, |_| said += 1);
            }
        }
        assert_eq!((said, log_limiter.suppressed_total()), (1_000, 49_000));
    }
}
