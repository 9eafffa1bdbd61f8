//! The page: one picture per cell, and the figures below it. It is self-contained.

use std::fmt::Write as _;

use crate::machine::Machine;
use crate::report::significant;
use crate::summary::{Row, Summary};

const WIDTH: f64 = 720.0;
const LABEL: f64 = 90.0;
const BAR: f64 = 18.0;
const GAP: f64 = 8.0;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2433; --paper: #fcfcfa; --faint: #8a93a6; --line: #d8dce4;
  --naksi: #1668a8; --peer: #9db4c8; --met: #1c7c4c; --missed: #b3392f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8f0; --paper: #14181f; --faint: #8a93a6;
  --line: #333b48; --naksi: #58a8e8; --peer: #4a6076; --met: #4cc088; --missed: #e8776c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .4rem; }
p.from, p.note { color: var(--faint); }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .faint { fill: var(--faint); } svg .axis { stroke: var(--line); } svg .spread { stroke: var(--ink); }
.naksi { fill: var(--naksi); } .peer { fill: var(--peer); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .15rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
li.met { color: var(--met); } li.missed { color: var(--missed); } li.open { color: var(--faint); }
";

/// The whole page.
pub(crate) fn page(machine: &Machine, not_built: &[String], cells: &[Summary]) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    page +=
        "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Naksi beside its peers</title>\n";
    page += &format!("<style>{STYLE}</style></head><body>\n<h1>Naksi beside its peers</h1>\n");
    page += &format!(
        "<p class=\"from\">{} × {}, Linux {}, {}, revision {}, {}</p>\n",
        machine.processors,
        escaped(&machine.processor),
        escaped(&machine.kernel),
        escaped(&machine.compiler),
        escaped(&machine.revision),
        escaped(&machine.began)
    );
    page += "<p class=\"note\">Bars: the server's cost, less is better; the thin line goes from the least to \
             the most of the rounds. ×: the peer's cost divided by Naksi's of the same round, median.</p>\n";
    for reason in not_built {
        page += &format!("<p class=\"note\">Not here: {}</p>\n", escaped(reason));
    }
    for cell in cells {
        page += &section(cell);
    }
    page + "</body></html>\n"
}

fn section(cell: &Summary) -> String {
    let arguments = cell.naksi_arguments.join(" ");
    let workers = if cell.workers == 1 { "" } else { " · two workers" };
    let mut text = format!("<h2>{} <small>{}{workers}</small></h2>\n", cell.cell, escaped(&arguments));
    text += &picture(cell);
    text += "<ul>\n";
    for verdict in &cell.verdicts {
        let class = match verdict.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "open",
        };
        text += &format!("<li class=\"{class}\">{}</li>\n", escaped(&verdict.text));
    }
    text += "</ul>\n";
    text + &table(cell)
}

fn picture(cell: &Summary) -> String {
    let rows: Vec<&Row> = cell.rows.iter().filter(|row| !row.samples.is_empty()).collect();
    let most = rows.iter().map(|row| row.cost.most).fold(f64::MIN_POSITIVE, f64::max);
    let height = rows.len() as f64 * (BAR + GAP) + 24.0;
    let scale = (WIDTH - LABEL - 190.0) / most;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n");
    for (place, row) in rows.iter().enumerate() {
        let top = place as f64 * (BAR + GAP);
        let middle = top + BAR / 2.0;
        let class = if row.peer == "naksi" { "naksi" } else { "peer" };
        let (width, least, end) =
            (row.cost.median * scale, LABEL + row.cost.least * scale, LABEL + row.cost.most * scale);
        let ratio = match row.ratio {
            Some(ratio) if row.peer != "naksi" => format!("  ×{:.2}", ratio.median),
            _ => String::new(),
        };
        let said = format!("{} {}{ratio}", significant(row.cost.median), cell.unit);
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LABEL}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>\
             <line class=\"spread\" x1=\"{least:.1}\" x2=\"{end:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>\
             <text class=\"faint\" x=\"{:.1}\" y=\"{}\">{}</text>",
            LABEL - 8.0,
            middle + 4.0,
            escaped(&row.peer),
            end + 8.0,
            middle + 4.0,
            escaped(&said)
        )
        .expect("a string takes what is written");
    }
    svg + "</svg>\n"
}

fn table(cell: &Summary) -> String {
    let mut text = format!(
        "<table><tr><th>peer</th><th>build</th><th>{}</th><th>ratio</th><th>least</th><th>most</th><th>a second</th>\
         <th>core</th><th>user</th><th>p50 µs</th><th>p99 µs</th><th>p999 µs</th><th></th></tr>\n",
        escaped(cell.unit)
    );
    for row in &cell.rows {
        if row.samples.is_empty() {
            let why = row.failed.as_deref().unwrap_or("not run");
            text += &format!(
                "<tr><td>{}</td><td>{}</td><td colspan=\"11\">{}</td></tr>\n",
                escaped(&row.peer),
                escaped(&row.profile),
                escaped(why)
            );
            continue;
        }
        let ratio = row.ratio.unwrap_or_default();
        text += &format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.0}</td><td>{:.0} %</td>\
             <td>{:.0} %</td><td>{:.0}</td><td>{:.0}</td><td>{:.0}</td><td>{}</td></tr>\n",
            escaped(&row.peer),
            escaped(&row.profile),
            significant(row.cost.median),
            ratio.median,
            ratio.least,
            ratio.most,
            row.per_second,
            row.core * 100.0,
            row.user_share * 100.0,
            row.p50_us,
            row.p99_us,
            row.p999_us,
            escaped(&row.notes().join(", "))
        );
    }
    text + "</table>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_cannot_become_part_of_the_page() {
        assert_eq!(escaped("<b>&</b>"), "&lt;b&gt;&amp;&lt;/b&gt;");
    }
}
