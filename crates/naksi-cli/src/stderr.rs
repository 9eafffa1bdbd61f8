//! What the program writes to standard error, through the thread of `naksi::log::stderr`: lines, problems and panics.
//! Nothing here blocks its caller.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::thread;

use naksi::log::escape::Escaped;
pub(crate) use naksi::log::stderr::{flush, line, raw};

use crate::outcome::Problem;

/// Writes a line to standard error, formatted as with `format!`; it never blocks or fails.
macro_rules! tell {
    ($($text:tt)*) => { $crate::stderr::line(format_args!($($text)*)) };
}
pub(crate) use tell;

/// Writes a problem after this prefix.
pub(crate) fn problem(before: &str, what: &Problem) {
    match what {
        Problem::NotRead => {}
        Problem::Several(problems) => {
            let words = std::iter::once(before).chain(std::iter::repeat("naksi"));
            words.zip(problems).for_each(|(before, one)| problem(before, one));
        }
        // The picture is escaped already, and may have colours.
        Problem::Pictured { line, picture } => {
            raw(&format!("{before}: {}\n{}\n", Escaped(line), picture.trim_end()));
        }
        _ => line(format_args!("{before}: {what}")),
    }
}

/// Prints panics in the same way, with a backtrace if `RUST_BACKTRACE` asks for one.
pub(crate) fn take_panics() {
    std::panic::set_hook(Box::new(tell_panic));
}

fn tell_panic(info: &PanicHookInfo<'_>) {
    let this = thread::current();
    let name = this.name().unwrap_or("?");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let said = info.payload_as_str().unwrap_or("no text");
    tell!("naksi: thread '{name}' panicked at {place}: {said}");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tell!("{backtrace}");
    }
    if name == "main" {
        // It ends the process, and nothing else waits for the line.
        flush();
    }
}
