//! The summary as one self-contained HTML file: a histogram of the latency and a table.

use std::fmt::{self, Write};

use super::report::{Bar, Summary};
use crate::units::{grouped, millis};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;\
color:#223}h1{font-size:1.3rem}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;\
text-align:right;border-bottom:1px solid #dde}th:first-child,td:first-child{text-align:left}\
rect{fill:#3a7ca5}text{font:12px system-ui,sans-serif;fill:#223}pre{background:#f4f5f8;padding:1rem;\
overflow:auto}.bad{color:#b00020}";

/// The whole page.
pub(crate) fn page(summary: &Summary) -> String {
    let mut out = String::new();
    write_page(summary, &mut out).expect("a string takes everything");
    out
}

fn write_page(summary: &Summary, out: &mut String) -> fmt::Result {
    let title = format!("naksi dummy: {} {} B, {} clients", summary.scenario, summary.size, summary.sessions);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p>{}, {:.1} s, to {}</p>\n",
        escaped(&summary.model),
        summary.seconds,
        escaped(&summary.target),
    )?;
    picture(&summary.histogram, out)?;
    let latency = summary.latency;
    out.write_str("<table><tr><th>percentile</th><th>latency</th></tr>\n")?;
    let rows = [
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p999),
        ("max", latency.max),
    ];
    for (name, nanos) in rows {
        writeln!(out, "<tr><td>{name}</td><td>{} ms</td></tr>", millis(nanos))?;
    }
    out.write_str("</table>\n")?;
    if summary.never_started > 0 {
        writeln!(
            out,
            "<p class=\"bad\">never started: {} of {}</p>",
            grouped(summary.never_started),
            grouped(summary.sessions.into())
        )?;
    }
    if summary.errors_total() > 0 {
        writeln!(out, "<p class=\"bad\">errors: {}</p>", grouped(summary.errors_total()))?;
    }
    writeln!(out, "<pre>{}</pre>\n</body></html>", escaped(&summary.text()))
}

/// One bar for each range of latencies; each range is twice as wide as the one before.
fn picture(bars: &[Bar], out: &mut String) -> fmt::Result {
    const ROW: usize = 22;
    const LEFT: usize = 110;
    const WIDTH: u64 = 420;
    let highest = bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
    let height = bars.len() * ROW + 4;
    writeln!(out, "<svg viewBox=\"0 0 700 {height}\" role=\"img\" aria-label=\"latency histogram\">")?;
    for (index, bar) in bars.iter().enumerate() {
        let top = index * ROW;
        let long = bar.count * WIDTH / highest + u64::from(bar.count > 0);
        writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">to {} ms</text>\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{long}\" height=\"{}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            LEFT - 8,
            top + 16,
            bar.up_to_ns as f64 / 1e6,
            top + 3,
            ROW - 5,
            LEFT as u64 + long + 6,
            top + 16,
            grouped(bar.count),
        )?;
    }
    out.write_str("</svg>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
