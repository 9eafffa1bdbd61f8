//! SIGINT, SIGTERM and SIGHUP, passed to a callback on a thread of their own.

// UNSAFETY: the standard library has no wrapper for signal dispositions.
#![expect(unsafe_code, reason = "sigaction(2) is a raw call")]

use std::io;
use std::mem;
use std::ptr;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::stop_signal::StopSignal;

const REQUESTS: [(libc::c_int, StopSignal); 3] =
    [(SIGINT, StopSignal::Interrupt), (SIGTERM, StopSignal::Terminate), (SIGHUP, StopSignal::HangUp)];

/// How long a process lives behind [`StopSignal::HangUp`]; without end here.
pub const HANG_UP_SPAN_MAX: Option<Duration> = None;

/// Calls `on_stop` for every request to stop, on a thread of its own, until the process ends.
///
/// A signal that the process was started to ignore, as under nohup or in the background of a shell without job
/// control, stays ignored.
///
/// # Errors
/// The system refuses a handler or a thread.
pub fn watch(on_stop: impl Fn(StopSignal) + Send + Sync + 'static) -> io::Result<()> {
    let heeded = REQUESTS.into_iter().map(|(number, _)| number).filter(|number| !is_ignored(*number));
    let mut signals = Signals::new(heeded)?;
    let listen = move || {
        for number in signals.forever() {
            if let Some((_, signal)) = REQUESTS.iter().find(|(request, _)| *request == number) {
                on_stop(*signal);
            }
        }
    };
    thread::Builder::new().name("naksi-signals".to_owned()).spawn(listen).map(drop)
}

/// Whether the process ignores this signal now.
fn is_ignored(number: libc::c_int) -> bool {
    // SAFETY: a `sigaction` is plain numbers and pointers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: sigaction(2): "If oldact is non-NULL, the previous action is saved in oldact"; `act` is NULL, so nothing
    // is installed, and `action` lives until the call returns.
    let result = unsafe { libc::sigaction(number, ptr::null(), &raw mut action) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}
