//! Pictures of a climb, drawn as SVG: one for each figure, and two of them as one file for the documentation.
//!
//! They are drawn here because five loads and seven lines need no library. Nothing here computes a figure.

use std::fmt::{self, Write};

use naksi_models::{Ceiling, MODELS};

use super::report::{Measured, Report};
use crate::units::grouped;

/// One colour for each rung: the lowest grey, the reactors warm, the proactors cold, the higher the darker.
pub(super) const COLOURS: [&str; 7] =
    ["#8a8f99", "#f2a541", "#e0702f", "#b5362c", "#4fb3bf", "#2a6fbb", "#1d2f6f"];
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 142.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Names of lines stand at least so far from each other.
const NAME_HEIGHT: f64 = 15.0;

/// What one picture shows.
pub(super) struct Panel {
    pub(super) korean: &'static str,
    pub(super) english: &'static str,
    pub(super) how_to_read: &'static str,
    logarithmic: bool,
    /// Whether the limits of sets and waits are drawn.
    limits: bool,
    pub(super) value: fn(&Measured) -> f64,
}

/// Where they stand in the list: messages per second, and processor time while all clients talk.
const RATE: usize = 4;
const PROCESSOR_TIME: usize = 2;

pub(super) const PANELS: [Panel; 8] = [
    Panel {
        korean: "클라이언트 하나만 말할 때: 메시지당 CPU 시간(µs)",
        english: "one talks, all others are silent",
        how_to_read: "조용한 접속에도 비용이 드는지 보여 줍니다. 낮을수록 좋습니다 · what silent clients cost; lower is better",
        logarithmic: true,
        limits: false,
        value: |row| row.silent_processor_us_per_message.unwrap_or(0.0),
    },
    Panel {
        korean: "메시지당 시스템 호출 수",
        english: "system calls per message",
        how_to_read: "호출할 때마다 셉니다. 낮을수록 좋습니다 · counted at every call; lower is better",
        logarithmic: true,
        limits: false,
        value: |row| row.calls_per_message,
    },
    Panel {
        korean: "모두 말할 때: 메시지당 CPU 시간(µs)",
        english: "everybody talks",
        how_to_read: "낮을수록 좋습니다. 서버 스레드의 시간만 잽니다 · lower is better; the server's threads alone",
        logarithmic: true,
        limits: false,
        value: |row| row.processor_us_per_message,
    },
    Panel {
        korean: "메시지당 깨어난 횟수",
        english: "wake-ups per message",
        how_to_read: "대기하던 스레드가 깨어난 횟수입니다. 낮을수록 좋습니다 · waits that returned; lower is better",
        logarithmic: true,
        limits: false,
        value: |row| row.wakeups_per_message,
    },
    Panel {
        korean: "초당 메시지 수",
        english: "messages per second",
        how_to_read: "높을수록 좋습니다 · higher is better",
        logarithmic: false,
        limits: false,
        value: |row| row.messages_per_second,
    },
    Panel {
        korean: "지연 시간 p99(µs)",
        english: "latency, 99th percentile",
        how_to_read: "낮을수록 좋습니다. 클라이언트와 서버가 CPU를 나누어 씁니다 · lower is better; the crowd shares the processors",
        logarithmic: true,
        limits: false,
        value: |row| row.p99_us,
    },
    Panel {
        korean: "처리한 접속 수",
        english: "clients served",
        how_to_read: "점선은 소켓 집합과 한 번의 대기가 받는 한도입니다. 자리가 없는 접속은 거절됩니다 · dotted: the limits of a set and of a \
                      wait; a client without a place is turned away",
        logarithmic: true,
        limits: true,
        value: |row| row.served as f64,
    },
    Panel {
        korean: "스레드 수",
        english: "threads",
        how_to_read: "한 번의 대기가 이벤트를 더 받지 못하면 스레드가 늘어납니다 · a wait that takes no more events needs one more thread",
        logarithmic: true,
        limits: true,
        value: |row| row.threads as f64,
    },
];

/// Space of a file above its pictures, for the title and the conditions.
const HEAD: f64 = 102.0;
/// Space of each picture in a file for its own title.
const TITLE: f64 = 26.0;

/// Two pictures side by side as a file of its own: messages per second and processor time, all clients talking.
pub(super) fn file(report: &Report) -> String {
    let mut out = String::new();
    write_file(report, &mut out).expect("a string takes everything");
    out
}

fn write_file(report: &Report, out: &mut String) -> fmt::Result {
    let (width, height) = (2.0 * WIDTH, HEAD + TITLE + HEIGHT);
    write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"system-ui,\
         'Noto Sans CJK KR','Malgun Gothic','NanumGothic',sans-serif\">\n<style>text{{font-size:12px;fill:#3b4456}}\
         .name{{font-weight:600}}.head{{font-size:19px;font-weight:600;fill:#1c2333}}.panel{{font-size:14px;font-weight:600}}\
         </style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text class=\"head\" x=\"18\" y=\"32\">사다리의 소켓 \
         입출력 모델 비교 · the models of the ladder compared</text>\n<text x=\"18\" y=\"54\">{}</text>\n<text x=\"18\" y=\"72\">{}</text>\n",
        report.conditions_korean(),
        report.conditions()
    )?;
    if report.wine {
        out.write_str("<text x=\"18\" y=\"90\">Wine에서 측정한 값 · taken under Wine, not Windows</text>\n")?;
    }
    for (place, panel) in [&PANELS[RATE], &PANELS[PROCESSOR_TIME]].into_iter().enumerate() {
        write!(
            out,
            "<g transform=\"translate({:.0} {HEAD})\"><text class=\"panel\" x=\"18\" y=\"8\">{} · {}</text>\
             <svg y=\"{TITLE}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">",
            place as f64 * WIDTH,
            panel.korean,
            panel.english
        )?;
        draw(report, &Panel { logarithmic: true, ..*panel }, out)?;
        out.write_str("</svg></g>\n")?;
    }
    out.write_str("</svg>\n")
}

pub(super) fn has(report: &Report, name: &str) -> bool {
    report.rows.iter().any(|row| row.model == name)
}

/// Where values stand in a picture.
struct Scale {
    loads: Vec<u64>,
    lowest: f64,
    highest: f64,
    logarithmic: bool,
}

impl Scale {
    fn new(report: &Report, panel: &Panel) -> Self {
        let mut loads: Vec<u64> = report.rows.iter().map(|row| row.connections).collect();
        loads.sort_unstable();
        loads.dedup();
        let values = || report.rows.iter().map(panel.value).filter(|value| *value > 0.0);
        let highest = values().fold(f64::MIN_POSITIVE, f64::max);
        let lowest = if panel.logarithmic { values().fold(highest, f64::min) / 1.3 } else { 0.0 };
        let highest = if panel.logarithmic { highest * 1.3 } else { highest * 1.08 };
        Self { loads, lowest, highest, logarithmic: panel.logarithmic }
    }

    fn x(&self, load: u64) -> f64 {
        let place = self.loads.iter().position(|other| *other == load).unwrap_or(0) as f64;
        let steps = (self.loads.len().max(2) - 1) as f64;
        LEFT + 12.0 + place / steps * (WIDTH - LEFT - RIGHT - 24.0)
    }

    /// Where a count of clients stands between the loads that were measured; nothing if it is beyond them.
    fn x_between(&self, clients: u64) -> Option<f64> {
        let above = self.loads.iter().position(|load| *load >= clients)?;
        if self.loads[above] == clients {
            return Some(self.x(clients));
        }
        let (low, high) = (self.loads[above.checked_sub(1)?], self.loads[above]);
        let part = (clients as f64 / low as f64).ln() / (high as f64 / low as f64).ln();
        Some(self.x(low) + part * (self.x(high) - self.x(low)))
    }

    fn y(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value.max(self.lowest) / self.lowest).ln() / (self.highest / self.lowest).ln()
        } else {
            value / self.highest
        };
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }

    /// Round values between the ends.
    fn ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            let raw = self.highest / 4.0;
            let power = 10_f64.powf(raw.log10().floor());
            let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|factor| factor * power >= raw);
            let step = factor.unwrap_or(10.0) * power;
            return (0..6)
                .map(|number| f64::from(number) * step)
                .filter(|tick| *tick <= self.highest)
                .collect();
        }
        let decades = self.lowest.log10().floor() as i32..=self.highest.log10().ceil() as i32;
        let steps = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)));
        steps.filter(|tick| (self.lowest..=self.highest).contains(tick)).collect()
    }
}

/// One picture in a page.
pub(super) fn picture(report: &Report, panel: &Panel, out: &mut String) -> fmt::Result {
    write!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", panel.english)?;
    draw(report, panel, out)?;
    out.write_str("</svg>")
}

/// What is in a picture: the scale, the limits, the lines.
fn draw(report: &Report, panel: &Panel, out: &mut String) -> fmt::Result {
    let scale = Scale::new(report, panel);
    for tick in scale.ticks() {
        let y = scale.y(tick);
        write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e3e7ef\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            short(tick)
        )?;
    }
    for load in &scale.loads {
        write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            scale.x(*load),
            HEIGHT - BOTTOM + 18.0,
            grouped(*load)
        )?;
    }
    write!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">접속 수 · clients</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 6.0
    )?;
    if panel.limits {
        limits(report, &scale, out)?;
    }
    lines(report, panel, &scale, out)
}

/// Dotted lines at the counts of clients that fill a set of sockets and a wait for events. One place is the listener's,
/// one event the door's of a group.
fn limits(report: &Report, scale: &Scale, out: &mut String) -> fmt::Result {
    let has = |ceiling| MODELS.iter().any(|model| model.ceiling == ceiling && has(report, model.name));
    let set = has(Ceiling::Sockets).then_some(report.sockets_max);
    let wait = report.events_max.filter(|_| has(Ceiling::EventsPerWait));
    let limits = [("소켓 집합 · set of", set), ("대기 이벤트 · events a wait", wait)];
    for (row, (name, limit)) in limits.into_iter().enumerate() {
        let Some((limit, x)) = limit.and_then(|limit| Some((limit, scale.x_between(limit - 1)?))) else {
            continue;
        };
        write!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#b5362c\" stroke-dasharray=\"4 4\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name} {}</text>",
            HEIGHT - BOTTOM,
            x - 4.0,
            TOP + 10.0 + row as f64 * NAME_HEIGHT,
            grouped(limit)
        )?;
    }
    Ok(())
}

/// The lines, their dots and, at their ends, their names. A hollow dot is a model that turned clients away.
fn lines(report: &Report, panel: &Panel, scale: &Scale, out: &mut String) -> fmt::Result {
    let mut names: Vec<(f64, usize)> = Vec::new();
    for (number, model) in MODELS.iter().enumerate() {
        let rows: Vec<&Measured> =
            report.rows.iter().filter(|row| row.model == model.name && (panel.value)(row) > 0.0).collect();
        let Some(last) = rows.last() else { continue };
        let colour = COLOURS[number];
        let at = |row: &Measured| (scale.x(row.connections), scale.y((panel.value)(row)));
        let points: Vec<String> =
            rows.iter().map(|row| at(row)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let path = points.join(" ");
        write!(out, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.4\"/>")?;
        for row in &rows {
            let (x, y) = at(row);
            let fill = if row.turned_away > 0 { "#fff" } else { colour };
            write!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\">\
                 <title>{} × {}: {}</title></circle>",
                model.title,
                row.connections,
                short((panel.value)(row))
            )?;
        }
        names.push((at(last).1, number));
    }
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let room = names.len() as f64 * NAME_HEIGHT;
    let mut lowest_free = f64::MIN;
    for (place, (y, number)) in names.into_iter().enumerate() {
        // A name moves down until it is free of the one above, and no further up than leaves room for the rest.
        let highest = HEIGHT - BOTTOM - room + place as f64 * NAME_HEIGHT + NAME_HEIGHT;
        let free = y.min(highest).max(lowest_free);
        lowest_free = free + NAME_HEIGHT;
        write!(
            out,
            "<text class=\"name\" x=\"{:.0}\" y=\"{:.1}\" style=\"fill:{}\">{number} {}</text>",
            WIDTH - RIGHT + 4.0,
            free + 4.0,
            COLOURS[number],
            MODELS[number].title
        )?;
    }
    Ok(())
}

/// A number with as many digits as it deserves.
fn short(value: f64) -> String {
    match value {
        value if value >= 1000.0 => grouped(value.round() as u64),
        value if value >= 100.0 || value == 0.0 => format!("{value:.0}"),
        value if value >= 10.0 => trimmed(format!("{value:.1}")),
        value if value >= 0.1 => trimmed(format!("{value:.2}")),
        value => trimmed(format!("{value:.3}")),
    }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
