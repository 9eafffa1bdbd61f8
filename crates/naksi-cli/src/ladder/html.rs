//! The climb as one HTML file for a class: eight pictures and the table, with nothing fetched from anywhere.
//!
//! Nothing here draws a picture or computes a figure.

use std::fmt::{self, Write};

use naksi_models::MODELS;

use super::picture::{COLOURS, PANELS, Panel, has, picture};
use super::report::Report;
use crate::units::grouped;

const STYLE: &str = "body{font:16px/1.55 system-ui,'Noto Sans CJK KR','Malgun Gothic',sans-serif;max-width:76rem;\
margin:2rem auto;padding:0 1.2rem;word-break:keep-all;color:#1c2333;background:#fff}h1{font-size:1.7rem;margin:0}h2{font-size:1.12rem;\
margin:0 0 .1rem}.sub{color:#5a6478;margin:.1rem 0 1rem}.grid{display:grid;grid-template-columns:repeat(auto-fit,\
minmax(min(30rem,100%),1fr));gap:1.4rem 2rem;margin:1.2rem 0}figure{margin:0}figcaption{color:#5a6478;font-size:.9rem;\
margin-bottom:.3rem}svg{width:100%;height:auto}svg text{font-size:12px;fill:#3b4456}.name{font-weight:600}\
table{border-collapse:collapse;font-size:.88rem;width:100%}td,th{padding:.22rem .55rem;text-align:right;\
border-bottom:1px solid #e3e7ef;white-space:nowrap}td:first-child,th:first-child,td:last-child,th:last-child\
{text-align:left}tr.first td{border-top:2px solid #b9c1d1}th{color:#5a6478;font-weight:600}.warn{background:#fff1d6;\
border-left:4px solid #e0702f;padding:.6rem 1rem}.key{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;margin:.6rem 0;\
padding:0;list-style:none;font-size:.92rem}.dot{display:inline-block;width:.8em;height:.8em;border-radius:50%;\
margin-right:.35em}.wide{overflow-x:auto}";

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut out = String::new();
    write_page(report, &mut out).expect("a string takes everything");
    out
}

fn write_page(report: &Report, out: &mut String) -> fmt::Result {
    write!(
        out,
        "<!doctype html>\n<html lang=\"ko\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>naksi ladder</title>\
         <style>{STYLE}</style></head><body>\n<h1>사다리: 여섯 가지 소켓 입출력 모델</h1>\n\
         <p class=\"sub\">같은 에코 서버에 같은 부하를 걸었습니다. {}.<br>The ladder: six socket I/O models, the same echo server, \
         the same load. {}.</p>\n",
        report.conditions_korean(),
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
