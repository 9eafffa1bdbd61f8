//! The console's events, passed to a callback on the thread that the system creates for each of them.

// UNSAFETY: the standard library has no wrapper for the handler of console events.
#![expect(unsafe_code, reason = "SetConsoleCtrlHandler is a raw call")]

use std::io;
use std::sync::OnceLock;
use std::thread;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

use crate::stop_signal::StopSignal;

type OnStop = dyn Fn(StopSignal) + Send + Sync;

static ON_STOP: OnceLock<Box<OnStop>> = OnceLock::new();

/// Calls `on_stop` for every request to stop, on a thread of the system, until the process ends.
///
/// A Ctrl-C that the process was started to ignore (`CREATE_NEW_PROCESS_GROUP`) stays ignored.
///
/// # Errors
/// The system refuses a handler, or there is one already.
pub fn watch(on_stop: impl Fn(StopSignal) + Send + Sync + 'static) -> io::Result<()> {
    if ON_STOP.set(Box::new(on_stop)).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: "A pointer to the application-defined HandlerRoutine function to be added": it lives as long as the program.
    let added = unsafe { SetConsoleCtrlHandler(Some(handle), 1) };
    if added == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// "The system creates a new thread in the process to execute the function."
extern "system" fn handle(event: u32) -> BOOL {
    let signal = match event {
        CTRL_C_EVENT | CTRL_BREAK_EVENT => StopSignal::Interrupt,
        CTRL_CLOSE_EVENT | CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT => StopSignal::HangUp,
        _ => return 0,
    };
    if let Some(on_stop) = ON_STOP.get() {
        on_stop(signal);
    }
    // The system ends the process as soon as a handler returns from one of these events, or after some seconds.
    while signal == StopSignal::HangUp {
        thread::park();
    }
    1
}
