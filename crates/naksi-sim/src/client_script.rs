//! What a simulated client sends and expects: a list of steps, and the peer that carries it out.
//!
//! Nothing here knows which server answers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::kernel::peer::{Peer, PeerEvent, PeerIo};

/// How many bytes of what was received a step takes; `None` if it needs more of them.
type Take = Box<dyn FnMut(&[u8]) -> Option<usize>>;

enum Step {
    Send(Vec<u8>),
    Expect(Vec<u8>),
    ExpectWith(Take),
    Wait(Duration),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Send(bytes) => write!(f, "send {}", shown(bytes)),
            Step::Expect(bytes) => write!(f, "expect {}", shown(bytes)),
            Step::ExpectWith(_) => f.write_str("expect_with"),
            Step::Wait(span) => write!(f, "wait {span:?}"),
        }
    }
}

/// Bytes for a person: at most 60 of them.
fn shown(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(60)].escape_ascii();
    let more = if bytes.len() > 60 { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{text}\"{more}")
}

/// What one simulated client does, step by step. When all steps are done, it says that it sends no more, and nothing
/// but the server's own end may follow, unless [`ClientScript::ignore_rest`] is called.
///
/// ```
/// use naksi_sim::ClientScript;
///
/// let script = ClientScript::new().send(b"ping\n").expect(b"ping\n");
/// # drop(script);
/// ```
#[derive(Default)]
#[must_use]
pub struct ClientScript {
    steps: VecDeque<Step>,
    ignores_rest: bool,
}

impl fmt::Debug for ClientScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.steps).finish()
    }
}

impl ClientScript {
    /// A client that connects and ends.
    pub fn new() -> Self {
        Self::default()
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }

    /// Sends bytes. In seeds other than 0 it may send them in two pieces with a pause between them.
    pub fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Waits for exactly these bytes; other ones are an error.
    pub fn expect(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Expect(bytes.as_ref().to_vec()))
    }

    /// Waits until `take` is content with what was received: it gets all bytes that no step has taken yet, and returns
    /// how many of them belong to this step, or `None` to wait for more. A panic in it is a found bug.
    pub fn expect_with(self, take: impl FnMut(&[u8]) -> Option<usize> + 'static) -> Self {
        self.then(Step::ExpectWith(Box::new(take)))
    }

    /// Does nothing for a while, in the world's time.
    pub fn wait(self, span: Duration) -> Self {
        self.then(Step::Wait(span))
    }

    /// Allows bytes after the last step, for example what other members of a room say.
    pub fn ignore_rest(mut self) -> Self {
        self.ignores_rest = true;
        self
    }
}

/// What the clients of one run have come to.
#[derive(Debug, Default)]
pub(crate) struct ClientTally {
    /// Carried out to the last step.
    pub(crate) completed: u64,
    /// Ended by a fault.
    pub(crate) cut: u64,
    /// The first client that saw what it must not see.
    pub(crate) failed: Option<String>,
}

/// Whether the faults of a run may end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Faults {
    None,
    EndNoSession,
    Every,
}

/// A peer that carries a script out.
pub(crate) struct ScriptedClient {
    number: u64,
    script: ClientScript,
    /// Steps that are done.
    done: usize,
    received: Vec<u8>,
    /// Bytes of a send that are on their way.
    sent: usize,
    pauses: u32,
    is_waiting: bool,
    /// All steps are done, and it has said that it sends no more.
    has_finished: bool,
    is_over: bool,
    faults: Faults,
    tally: Rc<RefCell<ClientTally>>,
}

impl ScriptedClient {
    pub(crate) fn new(
        number: u64,
        script: ClientScript,
        faults: Faults,
        tally: &Rc<RefCell<ClientTally>>,
    ) -> Self {
        Self {
            number,
            script,
            done: 0,
            received: Vec::new(),
            sent: 0,
            pauses: 0,
            is_waiting: false,
            has_finished: false,
            is_over: false,
            faults,
            tally: Rc::clone(tally),
        }
    }

    fn fail(&mut self, io: &mut PeerIo<'_>, what: &str) {
        let text = format!("client {}, step {}: {what}", self.number, self.done + 1);
        self.tally.borrow_mut().failed.get_or_insert(text);
        self.is_over = true;
        io.close();
    }

    /// Does what can be done now.
    fn go_on(&mut self, io: &mut PeerIo<'_>) {
        while !self.is_waiting && !self.is_over {
            let arrived = io.read(usize::MAX).to_vec();
            self.received.extend_from_slice(&arrived);
            let Some(step) = self.script.steps.front_mut() else { return self.finish(io) };
            match step {
                Step::Send(bytes) => {
                    let rest = bytes[self.sent..].to_vec();
                    if !self.send(io, &rest) {
                        return;
                    }
                }
                Step::Expect(expected) => {
                    let length = expected.len().min(self.received.len());
                    if expected[..length] != self.received[..length] {
                        let what =
                            format!("expected {}, received {}", shown(expected), shown(&self.received));
                        return self.fail(io, &what);
                    }
                    if length < expected.len() {
                        return;
                    }
                    self.received.drain(..length);
                }
                Step::ExpectWith(take) => {
                    let Some(taken) = take(&self.received) else { return };
                    self.received.drain(..taken.min(self.received.len()));
                }
                Step::Wait(span) => {
                    let span = *span;
                    self.pause(io, span);
                }
            }
            self.script.steps.pop_front();
            self.sent = 0;
            self.done += 1;
        }
    }

    /// Sends the rest of a step. Returns whether all of it is sent.
    fn send(&mut self, io: &mut PeerIo<'_>, rest: &[u8]) -> bool {
        let in_two = self.faults != Faults::None && rest.len() > 1 && io.random().is_multiple_of(4);
        let piece = if in_two { &rest[..1 + io.random() as usize % (rest.len() - 1)] } else { rest };
        let taken = io.write(piece);
        self.sent += taken;
        if taken < piece.len() {
            return false; // until the peer is told that there is room again
        }
        if in_two {
            let span = Duration::from_micros(io.random() % 50_000);
            self.pause(io, span);
        }
        !in_two
    }

    fn pause(&mut self, io: &mut PeerIo<'_>, span: Duration) {
        self.pauses += 1;
        self.is_waiting = true;
        io.set_timer(span, self.pauses);
    }

    /// All steps are done: nothing else may come but the end.
    fn finish(&mut self, io: &mut PeerIo<'_>) {
        if !self.received.is_empty() && !self.script.ignores_rest {
            let what = format!("received {} after the last step", shown(&self.received));
            return self.fail(io, &what);
        }
        self.received.clear();
        if !std::mem::replace(&mut self.has_finished, true) {
            io.shutdown_write();
        }
    }

    /// The connection has ended.
    fn hear_the_end(&mut self, io: &mut PeerIo<'_>, how: &str) {
        if self.is_over {
            return;
        }
        // What came before the end is read first; time to pause is over.
        self.is_waiting = false;
        self.go_on(io);
        if self.is_over {
            return;
        }
        if self.script.steps.is_empty() {
            self.tally.borrow_mut().completed += 1;
        } else if self.faults == Faults::Every {
            self.tally.borrow_mut().cut += 1;
        } else {
            let what = format!(
                "the server {how} although no fault ends a connection in this run; next: {:?}; received: {}",
                self.script.steps[0],
                shown(&self.received)
            );
            return self.fail(io, &what);
        }
        self.is_over = true;
        io.close();
    }
}

impl Peer for ScriptedClient {
    fn on_event(&mut self, io: &mut PeerIo<'_>, event: PeerEvent) {
        match event {
            PeerEvent::Timer(number) if number == self.pauses => {
                self.is_waiting = false;
                self.go_on(io);
            }
            PeerEvent::Timer(_) => {}
            PeerEvent::Connected | PeerEvent::Readable | PeerEvent::Writable => self.go_on(io),
            PeerEvent::Closed => self.hear_the_end(io, "has closed the connection"),
            PeerEvent::Refused => self.hear_the_end(io, "has refused the connection"),
            PeerEvent::Reset => self.hear_the_end(io, "has reset the connection"),
        }
    }
}
