//! Records what this worker's sessions receive; writes are operations on the worker's port.

use std::sync::Arc;

use naksi_core::completion::Done;
use naksi_core::id::Token;
use naksi_core::session::Framing;
use naksi_os::port::{FileAccess, Port};

use super::Worker;
use super::dispatch::KIND_RECORD;
use crate::config::{Error, Result};
use crate::record::recorder::{Doing, Recorder};
use crate::record::{Header, RecordOptions, Run, Space};
use crate::session::{Factory, Session};

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    /// Starts recording into this worker's file of the run, which exists and is empty.
    pub(crate) fn record(&mut self, options: &RecordOptions, run: &Run) -> Result<()> {
        let path = run.file(self.index);
        let file = self.port.open_file(&path, FileAccess::ReadWrite);
        let file =
            file.map_err(|error| Error::System(format!("cannot record in {}: {error}", path.display())))?;
        let header = Header {
            worker: self.index as u16,
            framed: <F::Session as Session>::FRAMING == Framing::Packets,
            table_version: options.table_version,
            epoch_unix_us: run.epoch_unix_us,
        };
        let space = Arc::clone(&run.space);
        self.context.recorder = Some(Recorder::new(file, &header, options.buffer_bytes_max, space));
        Ok(())
    }

    /// Submits the buffered entries, if no write is in flight.
    pub(crate) fn write_record(&mut self) {
        let last = self.stopping.is_some() && self.sessions.is_empty();
        let at_us = self.context.now.nanos() / 1000;
        let next = |recorder: &mut Recorder| recorder.register(last, at_us);
        while let Some(op) = self.context.recorder.as_mut().and_then(next) {
            if let Err(refused) = self.port.submit(Token::new(KIND_RECORD, 0, 0), op) {
                self.context.recorder.as_mut().expect("it has just asked").refused(&refused);
                self.end_record(&refused.why.to_string());
            }
        }
        if self.context.recorder.as_mut().is_some_and(|recorder| std::mem::take(&mut recorder.out_of_space)) {
            self.end_record_without_space();
        }
    }

    /// Ends the recording early: missing entries are counted as lost, and one log line gives the reason.
    pub(crate) fn end_record(&mut self, why: &str) {
        if let Some((lost, _)) = self.give_up_record() {
            tracing::error!(
                worker = self.index,
                why,
                lost,
                "the recording ends here, and what comes from now on is lost too"
            );
        }
    }

    /// Ends it as [`Worker::end_record`] does, at the next write of each worker; the first one logs it for all.
    fn end_record_without_space(&mut self) {
        let worker = self.index;
        if let Some((lost, space)) = self.give_up_record()
            && space.is_first_to_end()
        {
            let bytes_max = space.bytes_max();
            tracing::error!(
                worker,
                bytes_max,
                lost,
                "the recordings have as many bytes as they may, and end here"
            );
        }
    }

    fn give_up_record(&mut self) -> Option<(u64, &Space)> {
        let recorder = self.context.recorder.as_mut()?;
        let lost = recorder.give_up();
        self.context.counters.record_lost_total.add(lost);
        self.context.counters.recorded_total.add(recorder.take_kept());
        Some((lost, &recorder.space))
    }

    /// The worker ends before all writes returned: counts what the file lacks.
    pub(crate) fn abandon_record(&mut self) {
        if self.context.recorder.as_ref().is_some_and(Recorder::has_more) {
            self.end_record("the worker gave up");
        }
    }

    pub(crate) fn process_record(&mut self, done: Done) {
        let recorder = self.context.recorder.as_mut().expect("only a recorder writes");
        match done {
            Done::WriteAt(bytes, result) => {
                let refused = recorder.written(bytes, result);
                self.context.counters.recorded_total.add(recorder.take_kept());
                if let Some(why) = refused {
                    self.end_record(&why);
                }
            }
            Done::Close => recorder.doing = Doing::Closed,
            other => unreachable!("a recorder did not ask for {other:?}"),
        }
    }
}
