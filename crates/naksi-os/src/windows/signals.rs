//! The console's events, passed to a callback on the thread that the system creates for each of them.

// UNSAFETY: the standard library has no wrapper for the handler of console events.
#![expect(unsafe_code, reason = "SetConsoleCtrlHandler is a raw call")]

use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

use crate::stop_signal::StopSignal;

type OnStop = dyn Fn(StopSignal) + Send + Sync;

static ON_STOP: OnceLock<Box<OnStop>> = OnceLock::new();

/// How long a process lives behind [`StopSignal::HangUp`]. HandlerRoutine: the time-out of a closed console
/// (`SPI_GETHUNGAPPTIMEOUT`) and of a log-off or shutdown for a console process is 5,000 milliseconds.
pub const HANG_UP_SPAN_MAX: Option<Duration> = Some(Duration::from_secs(5));

/// Calls `on_stop` for every request to stop, on a thread of the system's, until the process ends.
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

/// A process that is told to stop through its console, by Ctrl-Break, which reaches a process group of its own.
#[cfg(test)]
mod tests {
    use super::*;

    use std::io::{BufRead as _, BufReader};
    use std::os::windows::process::CommandExt as _;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc;
    use std::time::Instant;

    use windows_sys::Win32::System::Console::{AllocConsole, CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
    use windows_sys::Win32::System::Threading::CREATE_NEW_PROCESS_GROUP;

    /// Set for the process that shall be stopped: it is this test, started once more.
    const ROLE: &str = "NAKSI_TEST_IS_STOPPED";
    /// How long anything may take before a test is lost.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Starts a program that says a line when it is ready, in a process group of its own.
    fn start(command: &mut Command) -> (Child, String) {
        // Events reach those who share a console. A process that has one already keeps it.
        // SAFETY: the call takes nothing.
        unsafe { AllocConsole() };
        command.creation_flags(CREATE_NEW_PROCESS_GROUP).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (mut lines, out) = (String::new(), child.stdout.take().expect("it is piped"));
        let mut out = BufReader::new(out);
        while !lines.contains("ready") && !lines.contains("listening") {
            assert!(out.read_line(&mut lines).expect("it says something") > 0, "it ended early: {lines}");
        }
        thread::spawn(move || io::copy(&mut out, &mut io::sink()));
        (child, lines)
    }

    /// Sends Ctrl-Break to the group of a process, and returns how it ended.
    fn stop(mut child: Child) -> Option<i32> {
        // SAFETY: two numbers; "the process group identifier" is that of the process that was started as its first.
        let sent = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, child.id()) };
        assert_ne!(sent, 0, "{}", io::Error::last_os_error());
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                return status.code();
            }
            if begun.elapsed() > PATIENCE {
                child.kill().ok();
                panic!("it did not stop");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_break_of_the_console_is_told_as_an_interrupt() {
        if std::env::var_os(ROLE).is_some() {
            let (tell, told) = mpsc::channel();
            watch(move |signal| tell.send(signal).expect("it is heard")).expect("a handler");
            println!("ready");
            let signal = told.recv_timeout(PATIENCE).expect("a signal comes");
            std::process::exit(if signal == StopSignal::Interrupt { 7 } else { 8 });
        }
        let mut again = Command::new(std::env::current_exe().expect("this program"));
        let only_this = "windows::signals::tests::a_break_of_the_console_is_told_as_an_interrupt";
        let (child, _) = start(again.args(["--exact", only_this, "--nocapture"]).env(ROLE, "1"));
        assert_eq!(stop(child), Some(7));
    }

    /// The program is another package's: it is there if the whole workspace was built.
    fn program() -> Option<PathBuf> {
        let here = std::env::current_exe().ok()?;
        Some(here.parent()?.parent()?.join("naksi.exe")).filter(|program| program.is_file())
    }

    #[test]
    fn a_server_that_is_told_to_stop_drains_and_ends_with_0() {
        let Some(program) = program() else {
            eprintln!("skipped: naksi.exe is not built beside this test (cargo build -p naksi-cli)");
            return;
        };
        let mut serve = Command::new(program);
        let (child, line) = start(serve.args(["serve", "--addr", "127.0.0.1:0", "--app", "echo"]));
        assert!(line.contains("backend=iocp"), "{line}");
        assert_eq!(stop(child), Some(0));
    }
}
