//! What a script saw, in lines that every backend can agree on.
//!
//! A line names the operation and how it went. It holds no handle, address, time or number of the system,
//! and what a kernel may cut as it likes (a stream of bytes) is one line however it was cut. Nothing here
//! knows a port.

use std::collections::HashMap;

use naksi_core::completion::{Completion, Done};
use naksi_core::ended::Ended;
use naksi_core::op::Op;
use naksi_os::port::SubmitErrorKind;

/// The lines of one run.
#[derive(Default)]
pub(super) struct Trace {
    lines: Vec<String>,
    /// Bytes of a receive that may still grow, by its label: where its line stands, and how many.
    streams: HashMap<String, (usize, u64)>,
}

impl Trace {
    /// Adds a line.
    pub(super) fn note(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Adds what one completion says.
    pub(super) fn completion(&mut self, label: &str, completion: &Completion) {
        let more = if completion.more { " more" } else { "" };
        match &completion.done {
            Done::Recv(Ok(lease)) => self.bytes(label, lease.len() as u64, completion.more),
            done => self.lines.push(format!("{label} {}{more}", said(done))),
        }
    }

    /// Bytes of a stream: if the last line is about the same stream, it grows.
    fn bytes(&mut self, label: &str, bytes: u64, more: bool) {
        let suffix = if more { " more" } else { "" };
        let last = self.lines.len().wrapping_sub(1);
        let (place, total) = match self.streams.get(label) {
            Some((place, before)) if *place == last && more => (*place, before + bytes),
            _ => {
                self.lines.push(String::new());
                (self.lines.len() - 1, bytes)
            }
        };
        self.lines[place] = format!("{label} {total} bytes{suffix}");
        self.streams.insert(label.to_owned(), (place, total));
    }

    /// Everything that was seen.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

/// A completion in words.
pub(super) fn said(done: &Done) -> String {
    match done {
        Done::Accept(result) => outcome(result.map(|_| "a connection".to_owned())),
        Done::Connect(result) => outcome(result.map(|_| "ok".to_owned())),
        Done::Recv(Ok(lease)) => counted(lease.len()),
        Done::Recv(Err(why)) => ended(*why),
        Done::Send(_, result) | Done::ReadAt(_, result) | Done::WriteAt(_, result) => {
            outcome(result.map(|count| counted(count as usize)))
        }
        Done::SendTo(_, result) => outcome(result.map(|count| counted(count as usize))),
        Done::Shutdown(result) | Done::Sync(result) | Done::Timeout(result) => {
            outcome(result.map(|()| "ok".to_owned()))
        }
        Done::Close => "ok".to_owned(),
        Done::RecvFrom(_, result) => outcome(result.map(|datagram| {
            let cut = if datagram.cut { " cut" } else { "" };
            format!("{}{cut}", counted(datagram.bytes as usize))
        })),
        Done::Posted(value) => format!("posted {value}"),
    }
}

fn counted(bytes: usize) -> String {
    format!("{bytes} bytes")
}

fn outcome(result: Result<String, Ended>) -> String {
    result.unwrap_or_else(ended)
}

/// An ending in words, without the system's number.
pub(super) fn ended(why: Ended) -> String {
    match why {
        Ended::Closed => "ended closed".to_owned(),
        Ended::Reset => "ended reset".to_owned(),
        Ended::Aborted => "ended aborted".to_owned(),
        Ended::Failed(error) => format!("failed: {}", error.kind.text()),
    }
}

/// A refusal in a word or two.
pub(super) fn refused(why: SubmitErrorKind) -> &'static str {
    match why {
        SubmitErrorKind::StaleHandle => "stale handle",
        SubmitErrorKind::WrongKind => "wrong kind",
        SubmitErrorKind::Busy => "busy",
        SubmitErrorKind::TokenInUse => "token in use",
        SubmitErrorKind::Empty => "empty",
        SubmitErrorKind::Offset => "offset",
        SubmitErrorKind::Unsupported => "unsupported",
    }
}

/// The verb of a wish.
pub(super) fn op_verb(op: &Op) -> &'static str {
    match op {
        Op::Accept { .. } => "accept",
        Op::Connect { .. } => "connect",
        Op::Recv { .. } => "recv",
        Op::Send { .. } => "send",
        Op::Shutdown { .. } => "shutdown",
        Op::Close { .. } => "close",
        Op::ReadAt { .. } => "read",
        Op::WriteAt { .. } => "write",
        Op::Sync { .. } => "sync",
        Op::RecvFrom { .. } => "recv_from",
        Op::SendTo { .. } => "send_to",
        Op::Timeout { .. } => "timeout",
    }
}

/// The verb of an answer.
pub(super) fn done_verb(done: &Done) -> &'static str {
    match done {
        Done::Accept(_) => "accept",
        Done::Connect(_) => "connect",
        Done::Recv(_) => "recv",
        Done::Send(..) => "send",
        Done::Shutdown(_) => "shutdown",
        Done::Close => "close",
        Done::ReadAt(..) => "read",
        Done::WriteAt(..) => "write",
        Done::Sync(_) => "sync",
        Done::RecvFrom(..) => "recv_from",
        Done::SendTo(..) => "send_to",
        Done::Timeout(_) => "timeout",
        Done::Posted(_) => "post",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naksi_core::id::Token;
    use naksi_core::lease::LeasePool;
    use std::num::NonZeroU32;

    fn received(pool: &mut LeasePool, bytes: u32) -> Completion {
        let buffer = pool.take().expect("a buffer is home");
        let lease = pool.lend(buffer, NonZeroU32::new(bytes).expect("not zero"));
        Completion { token: Token::new(1, 1, 1), done: Done::Recv(Ok(lease)), more: true }
    }

    #[test]
    fn a_stream_is_one_line_however_it_was_cut() {
        let mut pool = LeasePool::new(4, 16);
        let mut trace = Trace::default();
        trace.completion("recv", &received(&mut pool, 3));
        trace.completion("recv", &received(&mut pool, 2));
        trace.note("between");
        trace.completion("recv", &received(&mut pool, 7));
        assert_eq!(trace.into_lines(), ["recv 5 bytes more", "between", "recv 7 bytes more"]);
    }
}
