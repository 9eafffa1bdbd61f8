//! The climb as one HTML file for a class: eight pictures and the table, with nothing fetched from anywhere.
//!
//! The pictures are drawn here as SVG, because five loads and seven lines need no library. Nothing here computes
//! a figure.

use std::fmt::{self, Write};

use naksi_models::{Ceiling, MODELS};

use super::report::{Measured, Report};
use crate::units::grouped;

/// One colour for each rung: the lowest grey, the reactors warm, the proactors cold, the higher the darker.
const COLOURS: [&str; 7] = ["#8a8f99", "#f2a541", "#e0702f", "#b5362c", "#4fb3bf", "#2a6fbb", "#1d2f6f"];
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 142.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Names of lines stand at least so far from each other.
const NAME_HEIGHT: f64 = 15.0;

const STYLE: &str = "body{font:16px/1.55 system-ui,'Noto Sans CJK KR','Malgun Gothic',sans-serif;max-width:76rem;\
margin:2rem auto;padding:0 1.2rem;color:#1c2333;background:#fff}h1{font-size:1.7rem;margin:0}h2{font-size:1.12rem;\
margin:0 0 .1rem}.sub{color:#5a6478;margin:.1rem 0 1rem}.grid{display:grid;grid-template-columns:repeat(auto-fit,\
minmax(30rem,1fr));gap:1.4rem 2rem;margin:1.2rem 0}figure{margin:0}figcaption{color:#5a6478;font-size:.9rem;\
margin-bottom:.3rem}svg{width:100%;height:auto}svg text{font-size:12px;fill:#3b4456}.name{font-weight:600}\
table{border-collapse:collapse;font-size:.88rem;width:100%}td,th{padding:.22rem .55rem;text-align:right;\
border-bottom:1px solid #e3e7ef;white-space:nowrap}td:first-child,th:first-child,td:last-child,th:last-child\
{text-align:left}tr.first td{border-top:2px solid #b9c1d1}th{color:#5a6478;font-weight:600}.warn{background:#fff1d6;\
border-left:4px solid #e0702f;padding:.6rem 1rem}.key{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;margin:.6rem 0;\
padding:0;list-style:none;font-size:.92rem}.dot{display:inline-block;width:.8em;height:.8em;border-radius:50%;\
margin-right:.35em}.wide{overflow-x:auto}";

/// What one picture shows.
struct Panel {
    korean: &'static str,
    english: &'static str,
    how_to_read: &'static str,
    logarithmic: bool,
    /// Whether the limits of sets and waits are drawn.
    limits: bool,
    value: fn(&Measured) -> f64,
}

const PANELS: [Panel; 8] = [
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

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut out = String::new();
    write_page(report, &mut out).expect("a string takes everything");
    out
}

fn write_page(report: &Report, out: &mut String) -> fmt::Result {
    write!(
        out,
        "<!doctype html>\n<html lang=\"ko\"><head><meta charset=\"utf-8\"><title>naksi ladder</title>\
         <style>{STYLE}</style></head><body>\n<h1>사다리: 여섯 가지 소켓 입출력 모델</h1>\n\
         <p class=\"sub\">The ladder: six socket I/O models, the same echo server, the same load. {}.</p>\n",
        report.conditions()
    )?;
    if report.is_crowded() {
        writeln!(
            out,
            "<p class=\"warn\">다른 작업이 돌고 있는 컴퓨터에서 측정했습니다(평균 부하 {:.1}). 초당 메시지 수와 지연 시간은 \
             부정확할 수 있지만, 호출 수와 CPU 시간은 믿을 수 있습니다. · Taken on a machine that was busy with other things: rates and latencies waver, \
             counts and processor time hold.</p>",
            report.busy.unwrap_or_default()
        )?;
    }
    if report.wine {
        out.write_str(
            "<p class=\"warn\">Wine에서 측정한 값이므로 윈도우의 성능을 나타내지 않습니다. · Taken under Wine: these figures \
             say nothing about the speed of Windows.</p>\n",
        )?;
    }
    out.write_str("<ul class=\"key\">")?;
    for (number, model) in MODELS.iter().enumerate().filter(|(_, model)| has(report, model.name)) {
        write!(
            out,
            "<li><span class=\"dot\" style=\"background:{}\"></span><b>{number}</b> {}: {}</li>",
            COLOURS[number], model.title, model.notified_by_korean
        )?;
    }
    out.write_str("</ul>\n<div class=\"grid\">\n")?;
    let measured = |panel: &&Panel| report.rows.iter().any(|row| (panel.value)(row) > 0.0);
    for panel in PANELS.iter().filter(measured) {
        write!(
            out,
            "<figure><h2>{} <span class=\"sub\">{}</span></h2><figcaption>{}</figcaption>",
            panel.korean, panel.english, panel.how_to_read
        )?;
        picture(report, panel, out)?;
        out.write_str("</figure>\n")?;
    }
    out.write_str("</div>\n")?;
    table(report, out)?;
    out.write_str(
        "<p class=\"sub\">리액터(1–3)는 소켓이 준비된 뒤에 입출력 함수를 호출하고, 프로액터(4–6)는 미리 호출해 두고 완료를 기다립니다. · \
         A reactor (1–3) waits until a socket is ready and then calls; a proactor (4–6) calls first and waits until it \
         is done. 모두 말할 때는 select 한 번으로 여러 소켓의 상태를 알 수 있어 비용이 적어 보이지만, 대부분 조용할 때는 모든 \
         소켓을 매번 등록하는 비용이 드러납니다. · When everybody talks, one select tells of many sockets and looks cheap; when most are silent, one \
         message pays for registering all of them. Every echo was compared byte by byte.</p>\n</body></html>\n",
    )
}

fn has(report: &Report, name: &str) -> bool {
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

fn picture(report: &Report, panel: &Panel, out: &mut String) -> fmt::Result {
    let scale = Scale::new(report, panel);
    write!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", panel.english)?;
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
    lines(report, panel, &scale, out)?;
    out.write_str("</svg>")
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

fn table(report: &Report, out: &mut String) -> fmt::Result {
    out.write_str(
        "<div class=\"wide\"><table><tr><th>모델 model</th><th>접속 수 clients</th><th>처리한 접속 served</th><th>메시지/초</th><th>CPU µs</th>\
         <th>하나만 말할 때 one talks</th><th>호출 수 calls</th><th>깨어난 횟수 wake-ups</th><th>p50 µs</th><th>p99 µs</th><th>스레드 수 threads</th>\
         <th>걸린 제한 the ceiling met</th></tr>\n",
    )?;
    let mut before = "";
    for row in &report.rows {
        let class = if before == row.model { "" } else { " class=\"first\"" };
        before = row.model;
        let silent =
            row.silent_processor_us_per_message.map_or("–".to_owned(), |span| format!("{span:.2}"));
        writeln!(
            out,
            "<tr{class}><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{silent}</td><td>{:.2}</td><td>{:.3}</td>\
             <td>{:.0}</td><td>{:.0}</td><td>{}</td><td>{}</td></tr>",
            row.title,
            grouped(row.connections),
            grouped(row.served),
            grouped(row.messages_per_second.round() as u64),
            row.processor_us_per_message,
            row.calls_per_message,
            row.wakeups_per_message,
            row.p50_us,
            row.p99_us,
            row.threads,
            row.ceiling_korean,
        )?;
    }
    out.write_str("</table></div>\n")
}
