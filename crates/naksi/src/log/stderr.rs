//! Lines for standard error, written by a thread of their own.
//!
//! Nothing here blocks its caller, panics or ends the process. If the reader is gone or does not read, lines are
//! dropped and counted, and the count is written as soon as writing is possible again. Control characters are
//! escaped.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::escape;

/// Most bytes of queued lines, including the memory that holds them.
const BYTES_MAX: usize = 1 << 20;
const LINES_MAX: usize = 16_384;
/// What it takes to keep a line, about.
const LINE_BYTES: usize = 64;
/// Interval after which a standard error that cannot be written to is tried again.
const TRY_EVERY: Duration = Duration::from_millis(5);

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Box<[u8]>>,
    /// Bytes of queued lines and of those that are being written.
    bytes: usize,
    /// Whether the writer has taken lines that are not written yet.
    is_writing: bool,
    /// Lines that were written or given up.
    done_total: u64,
    /// Lines dropped since their number was last written.
    dropped: u64,
}

impl Queue {
    fn push(&mut self, line: Box<[u8]>) {
        let bytes = line.len() + LINE_BYTES;
        if self.bytes + bytes > BYTES_MAX || self.lines.len() >= LINES_MAX {
            self.dropped += 1;
            return;
        }
        self.bytes += bytes;
        self.lines.push_back(line);
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.is_writing
    }
}

/// A queue and the thread that writes it.
#[derive(Default)]
struct Writer {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Writer {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Box<[u8]>) {
        self.queue().push(line);
        self.changed.notify_all();
    }

    /// Writes queued lines, without end.
    fn run(&self, out: &mut impl Write) {
        loop {
            let mut queue = self.queue();
            while queue.lines.is_empty() {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let lines = std::mem::take(&mut queue.lines);
            let dropped = std::mem::take(&mut queue.dropped);
            queue.is_writing = true;
            drop(queue);
            let mut failed = 0;
            for line in &lines {
                let written = write(out, line);
                failed += u64::from(written.is_err());
                let mut queue = self.queue();
                queue.bytes -= line.len() + LINE_BYTES;
                queue.done_total += 1;
            }
            // Where nothing could be written, the number cannot be either.
            let told = dropped == 0 || (failed == 0 && write(out, drops(dropped).as_bytes()).is_ok());
            let mut queue = self.queue();
            queue.dropped += failed + if told { 0 } else { dropped };
            queue.is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits until everything is written, as long as each line is written within this time.
    fn flush(&self, within: Duration) {
        let mut queue = self.queue();
        while !queue.is_empty() {
            let done = queue.done_total;
            let is_same = |queue: &mut Queue| !queue.is_empty() && queue.done_total == done;
            let waited = self.changed.wait_timeout_while(queue, within, is_same);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if queue.done_total == done {
                return;
            }
        }
    }
}

fn drops(count: u64) -> String {
    format!("naksi: {count} lines were dropped here, because nothing read them\n")
}

/// Writes all bytes, retrying when a non-blocking output has no room.
fn write(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(TRY_EVERY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The writer of standard error. Its thread is started by the first line, and lives as long as the process.
fn writer() -> &'static Writer {
    static WRITER: OnceLock<Writer> = OnceLock::new();
    static THREAD: OnceLock<()> = OnceLock::new();
    let writer = WRITER.get_or_init(Writer::default);
    THREAD.get_or_init(|| {
        let spawned =
            thread::Builder::new().name("naksi-stderr".to_owned()).spawn(|| writer.run(&mut io::stderr()));
        spawned.map(drop).ok(); // Without a thread the lines are kept up to the bound and never written.
    });
    writer
}

/// Writes one or more lines; its control characters are escaped.
pub fn line(text: fmt::Arguments<'_>) {
    writer().push((escape::lines(&text.to_string()) + "\n").into_bytes().into());
}

/// Writes text as it is: it is escaped already.
pub fn raw(text: &str) {
    writer().push(text.as_bytes().into());
}

/// Waits until the queued lines are written, but not for a reader that does not read.
pub fn flush() {
    writer().flush(Duration::from_millis(500));
}

/// The target of the log: each write is one line, whose fields are escaped before.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        writer().push(bytes.into());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    /// A writer that needs a permit for each write, and keeps what it was given.
    struct Slow {
        permits: Receiver<io::Result<()>>,
        text: Arc<Mutex<String>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without a permit it blocks for ever, as a full pipe does.
            self.permits.recv().unwrap_or_else(|_| {
                loop {
                    thread::park();
                }
            })?;
            *self.text.lock().expect("one writer") += std::str::from_utf8(bytes).expect("text");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (&'static Writer, SyncSender<io::Result<()>>, Arc<Mutex<String>>) {
        let writer: &'static Writer = Box::leak(Box::default());
        let ((permit, permits), text) = (sync_channel(1 << 16), Arc::new(Mutex::new(String::new())));
        let mut out = Slow { permits, text: Arc::clone(&text) };
        thread::spawn(move || writer.run(&mut out));
        (writer, permit, text)
    }

    #[test]
    fn lines_that_nothing_reads_are_dropped_at_the_bound_and_counted_behind_the_others() {
        let (writer, permit, text) = slow();
        let line = || vec![b'x'; 1023].into_iter().chain([b'\n']).collect::<Box<[u8]>>();
        let pushed = 4 * BYTES_MAX / 1024;
        writer.push(line());
        // From here on the writer is blocked with the first line, and has no count of dropped ones.
        while !writer.queue().is_writing {
            thread::yield_now();
        }
        for _ in 1..pushed {
            writer.push(line());
        }
        let Queue { bytes, dropped, .. } = *writer.queue();
        assert!(bytes <= BYTES_MAX && dropped > 0, "{bytes} bytes, {dropped} dropped");
        writer.flush(Duration::from_millis(1));
        assert!(!writer.queue().is_empty(), "a reader that does not read is not waited for");
        for _ in 0..pushed {
            permit.send(Ok(())).expect("it takes them all");
        }
        writer.flush(Duration::from_secs(60));
        writer.push(line());
        writer.flush(Duration::from_secs(60));
        let text = text.lock().expect("nothing is written any more");
        let (lines, told) = (text.matches("x\n").count(), format!("naksi: {dropped} lines were dropped"));
        assert_eq!(lines as u64 + dropped, pushed as u64 + 1);
        assert!(text.contains(&told), "{told}");
    }

    #[test]
    fn lines_for_a_reader_that_is_gone_are_counted_and_nothing_waits_for_them() {
        let (writer, permit, text) = slow();
        permit.send(Err(io::ErrorKind::BrokenPipe.into())).expect("it takes it");
        writer.push(b"lost\n".to_vec().into());
        writer.flush(Duration::from_secs(60));
        assert_eq!(writer.queue().dropped, 1);
        for _ in 0..2 {
            permit.send(Ok(())).expect("it takes it");
        }
        writer.push(b"seen\n".to_vec().into());
        writer.flush(Duration::from_secs(60));
        assert_eq!(*text.lock().expect("nothing is written any more"), format!("seen\n{}", drops(1)));
    }
}
