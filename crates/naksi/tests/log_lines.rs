//! The log of a process of one's own: text and JSON, escaped, and limited for each place that says the same again and again.

use std::process::Command;
use std::time::{Duration, Instant};

use naksi::log::{self, Format};

/// Set in the process whose standard error the test reads.
const IS_CHILD: &str = "LOG_LINES_CHILD";

fn say(words: &str) {
    tracing::warn!(peer = 7, text = words, "said");
}

/// Says more than 100 lines of one place, one of another, and one more of the first when a second is over.
#[test]
fn child() {
    let Ok(format) = std::env::var(IS_CHILD) else { return };
    log::init().expect("the first log of the process");
    assert!(log::init().is_err(), "a process has one log");
    log::set_format(if format == "json" { Format::Json } else { Format::Text });
    let began = Instant::now();
    for _ in 0..1_000 {
        say("again");
    }
    tracing::warn!("line one\nline two \u{1b}[2J \u{9b}31m");
    tracing::info!("not asked for");
    // The rate is one of real time.
    while began.elapsed() < Duration::from_millis(1_100) {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    say("later");
    log::stderr::flush();
}

fn lines(format: &str) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "child", "--nocapture"]).env(IS_CHILD, format);
    let output = command.env_remove("NAKSI_LOG").env_remove("RUST_LOG").output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(!said.contains(['\u{1b}', '\u{9b}']), "{said:?}");
    said.lines().map(str::to_owned).collect()
}

fn count(lines: &[String], words: &str) -> usize {
    lines.iter().filter(|line| line.contains(words)).count()
}

#[test]
fn lines_of_one_place_are_limited_and_counted_and_each_has_its_time() {
    let lines = lines("text");
    // A slow machine may take more than one second for them.
    let again = count(&lines, "text=\"again\"");
    assert!((100..=400).contains(&again), "{again}");
    assert_eq!(
        count(&lines, "line one\\nline two \\u{1b}[2J \\u{9b}31m"),
        1,
        "another place is not limited by it"
    );
    assert_eq!((count(&lines, "text=\"later\""), count(&lines, "not asked for")), (1, 0));
    let suppressed: usize = lines
        .iter()
        .filter_map(|line| {
            line.split("lines were suppressed lines=").nth(1)?.split(' ').next()?.parse::<usize>().ok()
        })
        .sum();
    assert_eq!(again + suppressed, 1_000);
    let has_time = |line: &String| {
        line.as_bytes().get(..4).is_some_and(|year| year.iter().all(u8::is_ascii_digit))
            && line[10..].starts_with('T')
    };
    assert!(lines.iter().all(has_time), "{lines:?}");
}

#[test]
fn lines_in_json_are_objects_with_the_fields_of_the_event() {
    let lines = lines("json");
    assert!(
        lines.iter().all(|line| line.starts_with("{\"timestamp\":\"20") && line.ends_with('}')),
        "{lines:?}"
    );
    let said =
        "\"level\":\"WARN\",\"message\":\"said\",\"peer\":7,\"text\":\"later\",\"target\":\"log_lines\"}";
    assert_eq!(count(&lines, said), 1, "{lines:?}");
    assert_eq!(count(&lines, "\"message\":\"line one\\nline two \\u001b[2J \\u009b31m\""), 1, "{lines:?}");
    assert!(count(&lines, "\"message\":\"lines were suppressed\",\"lines\":") >= 1, "{lines:?}");
}
