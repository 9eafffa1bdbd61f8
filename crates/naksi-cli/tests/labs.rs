//! Tests that the labs of the lectures print what the slides show, byte by byte, and the practice its lines in order.

mod support;

use support::naksi;

/// The slides' text: lecture 003, between the fences of each lab.
const SLIDES: [(&str, &str); 3] = [
    ("11-1", include_str!("slides/11-1.txt")),
    ("11-2", include_str!("slides/11-2.txt")),
    ("11-3", include_str!("slides/11-3.txt")),
];

fn lab(name: &str) -> String {
    let output = naksi().args(["ladder", "--lab", name]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// The port numbers of both clients in the server's output.
fn ports(shown: &str) -> Vec<&str> {
    shown.lines().filter_map(|line| line.split_once("포트 번호=")).map(|(_, port)| port).collect()
}

/// The text with other port numbers, because a port of the slide may be in use.
fn with_ports(shown: &str, wanted: &[&str]) -> String {
    let mut replaced = shown.to_owned();
    for (has, wanted) in ports(shown).iter().zip(wanted) {
        for before in ["포트 번호=", "TCP/127.0.0.1:"] {
            replaced = replaced.replace(&format!("{before}{has}"), &format!("{before}{wanted}"));
        }
    }
    replaced
}

#[test]
fn every_lab_prints_the_text_of_its_slide_byte_by_byte() {
    for (name, slide) in SLIDES {
        let slide = slide.replace('\r', "");
        let shown = lab(name).replace('\r', "");
        assert_eq!(with_ports(&shown, &ports(&slide)), slide, "{name}");
    }
}

#[test]
fn the_practice_shows_the_three_outcomes_of_a_call_apart() {
    let shown = lab("001");
    let lines: Vec<&str> = shown.lines().collect();
    let pending = ["Pending", "Data Recv Len Callback = 11"];
    let at_once = ["Data Recv Len = 11", "Data Recv Len Callback = 11"];
    assert_eq!(lines, [pending, pending, at_once].concat());
}

#[test]
fn the_practice_empties_a_queue_of_five_callbacks_in_one_wait() {
    let shown = lab("000");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines, [["Pending"; 5], ["Data Recv Len Callback = 11"; 5]].concat());
}

#[test]
fn a_run_shows_its_threads_and_draws_its_picture_when_it_is_asked_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("picture.svg");
    let mut ladder = naksi();
    ladder.args(["ladder", "--model", "overlapped_routine,completion_port", "--conns", "2", "--secs", "0.1"]);
    let output = ladder.args(["--show-threads", "--svg"]).arg(&file).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let shown = String::from_utf8(output.stdout).expect("text").replace('\r', "");
    let (_, threads) = shown.split_once("어느 스레드에서 실행되었나").expect("the threads are shown");
    let (routine, port) = threads.split_once("completion_port × 2\n").expect("both models are shown");
    let rows = |text: &str| -> Vec<Vec<u64>> {
        let numbers = |line: &str| line.replace(',', "").split_whitespace().map(str::parse).collect();
        text.lines()
            .filter_map(|line| Result::ok(numbers(line)))
            .filter(|row: &Vec<u64>| row.len() == 4)
            .collect()
    };
    let routine = rows(routine);
    assert!(
        routine.len() == 1 && routine[0][1] == 2 && routine[0][3] == 0,
        "one thread does all: {routine:?}"
    );
    let accepted: u64 = rows(port).iter().map(|row| row[1]).sum();
    assert_eq!(accepted, 2, "{shown}");
    let picture = std::fs::read_to_string(file).expect("the picture is written");
    assert!(
        picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && picture.ends_with("</svg>\n")
    );
    for part in ["초당 메시지 수", "메시지당 CPU 시간(µs)", "5 Overlapped (II)", "6 Completion Port"]
    {
        assert!(picture.contains(part), "{part}");
    }
}
