//! What a scenario can do: submit operations, let time pass, collect completions, and see it all written down.
//!
//! A script holds the ports of one run and checks every completion against law 1 as it comes, whether or
//! not the scenario asks for it. What is set up without being on trial (both ends of a connection) leaves no
//! line unless it fails. A scenario that cannot go on stops by unwinding, so that scripts need no error
//! handling. Nothing here knows which backend it runs on.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic;
use std::path::PathBuf;
use std::time::Duration;

use naksi_core::completion::{Completion, Done};
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_core::tick::Tick;
use naksi_os::port::{Ledger, PortOptions};
use tempfile::TempDir;

use super::harness::{DynHarness, DynPort, Post};
use super::trace::{self, Trace};

/// How long an answer may take before the scenario gives up, in the port's time.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest that one port of several sleeps while the others may have something to say.
const GLANCE: Duration = Duration::from_millis(1);
/// A moment after which everything that was on its way has arrived.
pub(super) const MOMENT: Duration = Duration::from_millis(8);

/// An open thing and the port that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thing {
    pub(super) port: usize,
    pub(super) handle: Handle,
}

/// An operation that was submitted, or a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct OpRef {
    pub(super) port: usize,
    pub(super) token: Token,
    post: bool,
}

struct InFlightOp {
    label: String,
    verb: &'static str,
    over: bool,
}

/// The payload with which a script unwinds after it has written down why.
struct Stopped;

/// One run of one scenario.
pub(super) struct Script {
    harness: Box<dyn DynHarness>,
    ports: Vec<Option<Box<dyn DynPort>>>,
    in_flight: HashMap<OpRef, InFlightOp>,
    seen: HashMap<OpRef, VecDeque<Completion>>,
    caught: Vec<Completion>,
    trace: Trace,
    tokens: u32,
    /// Where its files are; removed after the run.
    folder: Option<TempDir>,
    files: u32,
}

/// Sizes that are small enough to be met and large enough not to be in the way.
pub(super) fn small() -> PortOptions {
    PortOptions {
        submission_entries: 64,
        completion_entries: 256,
        lease_count: 32,
        lease_bytes: 4096,
        catch_max: 64,
        ..PortOptions::default()
    }
}

/// Runs a scenario and returns what was seen.
pub(super) fn run(harness: Box<dyn DynHarness>, scenario: fn(&mut Script)) -> Vec<String> {
    let mut script = Script {
        harness,
        ports: Vec::new(),
        in_flight: HashMap::new(),
        seen: HashMap::new(),
        caught: Vec::new(),
        trace: Trace::default(),
        tokens: 0,
        folder: None,
        files: 0,
    };
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        scenario(&mut script);
        script.finish();
    }));
    if let Err(payload) = outcome {
        if !payload.is::<Stopped>() {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no words");
            script.note(format!("panicked: {text}"));
        }
        // A simulated world that unwound is in the middle of something: its ports are not asked again.
        std::mem::take(&mut script.ports).into_iter().for_each(std::mem::forget);
    }
    script.trace.into_lines()
}

/// Ports, time and the trace.
impl Script {
    /// Opens a port with sizes of its own and returns its number.
    pub(super) fn open(&mut self, options: &PortOptions) -> usize {
        match self.harness.open(options) {
            Ok(port) => self.ports.push(Some(port)),
            Err(error) => self.stop(&format!("the port cannot be opened: {error}")),
        }
        self.ports.len() - 1
    }

    /// The first port; it is opened with small sizes if no scenario has opened one before.
    pub(super) fn first(&mut self) -> usize {
        if self.ports.is_empty() {
            self.open(&small());
        }
        0
    }

    /// Another port of the same backend.
    pub(super) fn another(&mut self) -> usize {
        self.first();
        self.open(&small())
    }

    pub(super) fn port(&mut self, port: usize) -> &mut dyn DynPort {
        self.first();
        self.ports[port].as_mut().expect("a scenario uses a port until it drops it").as_mut()
    }

    /// Drops a port with whatever is in flight on it, and says what it left behind.
    pub(super) fn drop_port(&mut self, port: usize) {
        let Some(quay) = self.ports[port].take() else { return };
        let last = self.harness.end(quay);
        let left = last.map_or(0, |ledger| ledger.in_flight + ledger.leases_out + ledger.starved);
        let leaked = last.map_or(0, |ledger| ledger.leaked_total);
        self.note(if left == 0 && leaked == 0 {
            "port dropped".to_owned()
        } else {
            format!("port dropped, {left} left, {leaked} leaked")
        });
        self.in_flight.retain(|op_ref, _| op_ref.port != port);
        self.seen.retain(|op_ref, _| op_ref.port != port);
    }

    pub(super) fn now(&mut self) -> Tick {
        self.first();
        self.ports.iter().flatten().next().expect("one port is left").now()
    }

    pub(super) fn ledger(&mut self) -> Ledger {
        self.port(0).ledger()
    }

    /// Adds a line of the scenario's own.
    pub(super) fn note(&mut self, line: impl Into<String>) {
        self.trace.note(line);
    }

    /// Writes down why the scenario cannot go on, and ends it.
    pub(super) fn stop(&mut self, why: &str) -> ! {
        self.note(format!("stopped: {why}"));
        panic::resume_unwind(Box::new(Stopped))
    }

    /// A path for a new file, which is removed after the run.
    pub(super) fn path(&mut self) -> PathBuf {
        if self.folder.is_none() {
            match tempfile::Builder::new().prefix("naksi-conform-").tempdir() {
                Ok(folder) => self.folder = Some(folder),
                Err(error) => self.stop(&format!("no temporary folder: {error}")),
            }
        }
        self.files += 1;
        let folder = self.folder.as_ref().map_or_else(std::env::temp_dir, |folder| folder.path().to_owned());
        folder.join(self.files.to_string())
    }

    /// Every port hands over its wishes and is looked at once; the only port sleeps up to `span`.
    fn step(&mut self, span: Duration) {
        let several = self.ports.iter().flatten().count() > 1;
        let span = if several { span.min(GLANCE) } else { span };
        let mut caught = std::mem::take(&mut self.caught);
        let mut any = false;
        for port in 0..self.ports.len() {
            let Some(quay) = self.ports[port].as_mut() else { continue };
            let until = quay.now() + span;
            if let Err(error) = quay.wait(&mut caught, Some(until)) {
                self.stop(&format!("the port is broken: {error}"));
            }
            any |= !caught.is_empty();
            caught.drain(..).for_each(|completion| self.see(port, completion));
        }
        self.caught = caught;
        if !any {
            self.harness.let_time_pass();
        }
    }

    /// Lets time pass; what completes meanwhile is kept.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now() + span;
        loop {
            let rest = end.since(self.now());
            if rest.is_zero() {
                return;
            }
            self.step(rest);
        }
    }

    /// Lets everything arrive that is on its way.
    pub(super) fn settle(&mut self) {
        self.pass(MOMENT);
    }

    /// Law 1, for every completion as it comes.
    fn see(&mut self, port: usize, completion: Completion) {
        let post = matches!(completion.done, Done::Posted(_));
        let op_ref = OpRef { port, token: completion.token, post };
        let verb = trace::done_verb(&completion.done);
        match self.in_flight.get_mut(&op_ref) {
            None => self.note(format!("law 1 broken: a {verb} of nothing in flight")),
            Some(flight) if flight.over && !post => {
                let line = format!("law 1 broken: {} {verb} after the last", flight.label);
                self.note(line);
            }
            Some(flight) if flight.verb != verb => {
                let line = format!("law 1 broken: {} completes as {verb}", flight.label);
                self.note(line);
            }
            Some(flight) => flight.over = !completion.more,
        }
        self.seen.entry(op_ref).or_default().push_back(completion);
    }

    /// What was not asked for and what is still in flight, and the end of every port.
    fn finish(&mut self) {
        self.settle();
        let mut left: Vec<String> = Vec::new();
        for (op_ref, completions) in &self.seen {
            let label = self.in_flight.get(op_ref).map_or("?", |flight| flight.label.as_str());
            left.extend(
                completions.iter().map(|one| format!("left over: {label} {}", trace::said(&one.done))),
            );
        }
        left.sort();
        left.into_iter().for_each(|line| self.note(line));
        self.seen.clear();
        for port in 0..self.ports.len() {
            let Some(quay) = self.ports[port].as_ref() else { continue };
            let ledger = quay.ledger();
            let figures = [ledger.in_flight, ledger.leases_out, ledger.starved];
            if figures != [0, 0, 0] {
                let [flying, out, starved] = figures;
                self.note(format!("left: {flying} in flight, {out} leases out, {starved} starved"));
            }
            let quay = self.ports[port].take().expect("it was just seen");
            if let Some(last) = self.harness.end(quay)
                && (last.in_flight, last.leaked_total, last.leases_out) != (0, 0, 0)
            {
                self.note("the end of the port left something behind");
            }
        }
    }
}

/// Wishes and their answers.
impl Script {
    pub(super) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token::new(1, self.tokens & 0xff_ffff, self.tokens)
    }

    fn fly(&mut self, label: &str, port: usize, token: Token, verb: &'static str) -> OpRef {
        let op_ref = OpRef { port, token, post: verb == "post" };
        self.in_flight.insert(op_ref, InFlightOp { label: label.to_owned(), verb, over: false });
        op_ref
    }

    /// Casts a wish under a label; an empty label leaves no line.
    pub(super) fn submit(&mut self, label: &str, port: usize, op: Op) -> OpRef {
        let verb = trace::op_verb(&op);
        let token = self.token();
        let op_ref = self.fly(label, port, token, verb);
        if let Err(refused) = self.port(port).submit(token, op) {
            let why = trace::refused(refused.why);
            self.stop(&format!("{verb} refused {why}"));
        }
        op_ref
    }

    /// Casts a wish that should be refused, and says how it was. It must come back as it was offered.
    pub(super) fn refused(&mut self, port: usize, op: Op) {
        let token = self.token();
        self.refused_under(token, port, op);
    }

    /// The same under a token of the scenario's choice.
    pub(super) fn refused_under(&mut self, token: Token, port: usize, op: Op) {
        let (verb, offered) = (trace::op_verb(&op), format!("{op:?}"));
        match self.port(port).submit(token, op) {
            Ok(()) => self.stop(&format!("{verb} was accepted")),
            Err(refused) => {
                let changed =
                    if format!("{:?}", refused.op) == offered { "" } else { " and came back changed" };
                self.note(format!("{verb} refused {}{changed}", trace::refused(refused.why)));
            }
        }
    }

    pub(super) fn cancel(&mut self, op_ref: OpRef) {
        self.port(op_ref.port).cancel(op_ref.token);
    }

    /// A post of this port under a fresh token, from this thread.
    pub(super) fn post(&mut self, port: usize, value: u64) -> OpRef {
        let (op_ref, post) = self.mailbox("post", port);
        if !post(op_ref.token, value) {
            self.note("post refused");
        }
        op_ref
    }

    /// A token for posts, and the door to post through.
    pub(super) fn mailbox(&mut self, label: &str, port: usize) -> (OpRef, Post) {
        let token = self.token();
        self.mailbox_under(label, port, token)
    }

    /// The same under a token of the scenario's choice.
    pub(super) fn mailbox_under(&mut self, label: &str, port: usize, token: Token) -> (OpRef, Post) {
        (self.fly(label, port, token, "post"), self.port(port).poster())
    }

    fn next(&mut self, op_ref: OpRef) -> Option<Completion> {
        self.seen.get_mut(&op_ref).and_then(VecDeque::pop_front)
    }

    /// The next completion of a wish, without a line.
    pub(super) fn next_completion(&mut self, op_ref: OpRef) -> Completion {
        let deadline = self.now() + PATIENCE;
        loop {
            if let Some(completion) = self.next(op_ref) {
                return completion;
            }
            if self.now() >= deadline {
                let label =
                    self.in_flight.get(&op_ref).map_or("?", |flight| flight.label.as_str()).to_owned();
                self.stop(&format!("nothing came for {label}"));
            }
            self.step(Duration::from_millis(100));
        }
    }

    /// The next completion of a wish, with its line.
    pub(super) fn answer(&mut self, op_ref: OpRef) -> Completion {
        let completion = self.next_completion(op_ref);
        self.write_down(op_ref, &completion);
        completion
    }

    fn write_down(&mut self, op_ref: OpRef, completion: &Completion) {
        let flight = self.in_flight.get(&op_ref).expect("only what was op_ref is pulled");
        if !flight.label.is_empty() {
            self.trace.completion(&flight.label, completion);
        }
    }

    /// All completions of a wish up to its last, each with its line.
    pub(super) fn last(&mut self, op_ref: OpRef) -> Done {
        loop {
            let completion = self.answer(op_ref);
            if !completion.more {
                return completion.done;
            }
        }
    }

    /// An operation that may have succeeded or been cancelled, as its kernel liked: only that it ended once counts.
    pub(super) fn once(&mut self, op_ref: OpRef) -> Done {
        loop {
            let completion = self.next_completion(op_ref);
            if completion.more {
                continue;
            }
            let label = self.in_flight.get(&op_ref).map_or("?", |flight| flight.label.as_str()).to_owned();
            let how = trace::said(&completion.done);
            let usual = how == "ended aborted" || !how.starts_with("ended") && !how.starts_with("failed");
            let how = if usual { "over once".to_owned() } else { how };
            self.note(format!("{label} {how}"));
            return completion.done;
        }
    }

    /// The last completions of many wishes, counted by how they went.
    pub(super) fn count(&mut self, label: &str, ops: &[OpRef]) {
        let mut tally: BTreeMap<String, usize> = BTreeMap::new();
        for op_ref in ops {
            loop {
                let completion = self.next_completion(*op_ref);
                if !completion.more {
                    *tally.entry(trace::said(&completion.done)).or_default() += 1;
                    break;
                }
            }
        }
        tally.into_iter().for_each(|(how, count)| self.note(format!("{label}: {count} times {how}")));
    }

    /// Says whether a wish still waits after everything on its way has arrived.
    pub(super) fn waits(&mut self, op_ref: OpRef) {
        self.settle();
        let label = self.in_flight.get(&op_ref).map_or("?", |flight| flight.label.as_str()).to_owned();
        let answered = self.seen.get(&op_ref).is_some_and(|completions| !completions.is_empty());
        self.note(format!("{label} {}", if answered { "has been answered" } else { "waits" }));
    }

    /// Whether an answer of a wish has come already.
    pub(super) fn answered(&self, op_ref: OpRef) -> bool {
        self.seen.get(&op_ref).is_some_and(|completions| !completions.is_empty())
    }

    /// A token was submitted again under its old label after its last completion.
    pub(super) fn again(&mut self, op_ref: OpRef) {
        if let Some(flight) = self.in_flight.get_mut(&op_ref) {
            flight.over = false;
        }
    }

    /// Throws away what has come for a wish.
    pub(super) fn forget(&mut self, op_ref: OpRef) {
        self.seen.remove(&op_ref);
    }

    /// Waits until an answer has come, and leaves it where it is.
    pub(super) fn kept(&mut self, op_ref: OpRef) {
        let completion = self.next_completion(op_ref);
        self.seen.entry(op_ref).or_default().push_front(completion);
    }

    /// Takes a socket out of its port.
    pub(super) fn release(&mut self, socket: Thing) -> Option<Box<dyn Any + Send>> {
        match self.port(socket.port).release(socket.handle) {
            Ok(socket) => Some(socket),
            Err(why) => {
                self.note(format!("release refused {}", trace::refused(why)));
                None
            }
        }
    }

    /// Gives a released socket to a port.
    pub(super) fn adopt(&mut self, port: usize, socket: Option<Box<dyn Any + Send>>) -> Thing {
        let Some(socket) = socket else { self.stop("no socket was released") };
        Thing { port, handle: self.port(port).adopt(socket) }
    }

    /// A listener's or a datagram socket's address, or the end of the scenario.
    pub(super) fn opened<T>(&mut self, what: &str, result: Result<T, naksi_core::ended::OsError>) -> T {
        match result {
            Ok(opened) => opened,
            Err(error) => self.stop(&format!("{what} cannot be opened: {}", error.kind.text())),
        }
    }
}

/// An address of this machine with a port of the system's choice.
pub(super) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
