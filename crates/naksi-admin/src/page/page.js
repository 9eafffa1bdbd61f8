"use strict";
// Shows the server's events: one snapshot a second. Totals become rates by the difference of two snapshots.

const POINTS_MAX = 300;
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

let last = null;
let token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
if (token) history.replaceState(null, "", location.pathname);

const count = (value) => Math.round(value).toLocaleString("en-US");
const bytes = (value) => {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (value >= size) return `${(value / size).toFixed(1)} ${unit}`;
  }
  return `${Math.round(value)} B`;
};
const millis = (value) => `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;
const percent = (value) => `${value.toFixed(0)} %`;
const span = (seconds) => {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${Math.floor(seconds) % 60} s` : `${Math.floor(seconds)} s`;
};

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

const tiles = new Map();
function tile(name, text) {
  if (!tiles.has(name)) {
    const box = element("div", undefined, byId("now"));
    box.className = "tile";
    element("span", name, box);
    tiles.set(name, element("b", "", box));
  }
  tiles.get(name).textContent = text;
}

const curves = new Map();
function curve(name, value, show) {
  if (!curves.has(name)) {
    const box = element("div", undefined, byId("curves"));
    box.className = "curve";
    const label = element("span", "", box);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${POINTS_MAX - 1} 100`);
    svg.setAttribute("preserveAspectRatio", "none");
    const base = document.createElementNS(SVG, "line");
    for (const [key, at] of [["x1", 0], ["x2", POINTS_MAX - 1], ["y1", 99], ["y2", 99]]) base.setAttribute(key, at);
    const path = document.createElementNS(SVG, "path");
    svg.append(base, path);
    box.append(svg);
    curves.set(name, { label, path, values: [] });
  }
  const { label, path, values } = curves.get(name);
  values.push(value);
  if (values.length > POINTS_MAX) values.shift();
  const most = Math.max(...values, 1e-9);
  label.textContent = `${name}: ${show(value)} (most ${show(Math.max(...values))})`;
  const start = POINTS_MAX - values.length;
  path.setAttribute("d", values.map((value, at) => `${at ? "L" : "M"}${start + at} ${98 - 94 * value / most}`).join(""));
}

function table(id, head, rows) {
  const body = byId(id);
  body.replaceChildren();
  const line = element("tr", undefined, body);
  head.forEach((name) => element("th", name, line));
  for (const row of rows) {
    const line = element("tr", undefined, body);
    row.forEach((cell) => element("td", cell, line));
  }
}

function show(now) {
  const seconds = last ? Math.max((now.at_ms - last.at_ms) / 1e3, 0.001) : 0;
  const rate = (of) => (last ? Math.max(of(now) - of(last), 0) / seconds : 0);
  const state = byId("state");
  state.textContent = now.stopping ? "stopping" : "serving";
  state.className = now.stopping ? "bad" : "";
  byId("about").textContent = `${now.version}, ${now.backend}, ${now.workers.length} workers, up ${span((now.at_ms - now.started_at_ms) / 1e3)}`;
  const ended = rate((s) => s.disconnected_total);
  tile("sessions", count(now.sessions));
  tile("connects in all", count(now.connected_total));
  tile("ends in all", count(now.disconnected_total));
  tile("rooms", count(now.rooms.live));
  tile("dropped messages", count(now.dropped));
  tile("callback panics", count(now.callback_panics));
  tile("held by sessions", bytes(now.held_bytes));
  if (now.resident_bytes !== null) tile("process memory", bytes(now.resident_bytes));
  curve("sessions", now.sessions, count);
  curve("packets in a second", rate((s) => s.packets), count);
  curve("received a second", rate((s) => s.received_bytes), bytes);
  curve("sent a second", rate((s) => s.sent_bytes), bytes);
  curve("connects a second", rate((s) => s.connected_total), count);
  curve("ends a second", ended, count);
  if (now.processor_seconds !== null) curve("processor", 100 * rate((s) => s.processor_seconds), percent);
  curve("held by sessions", now.held_bytes, bytes);
  const of = (at, name) => rate((s) => (s.workers[at] || {})[name] || 0);
  table("workers", ["worker", "sessions", "packets/s", "received/s", "sent/s", "completions/s", "per system call", "in flight"],
    now.workers.map((worker, at) => {
      const [completions, calls] = [of(at, "completions"), of(at, "system_calls")];
      return [String(at), count(worker.sessions), count(of(at, "packets")), bytes(of(at, "received_bytes")), bytes(of(at, "sent_bytes")),
        count(completions), calls ? (completions / calls).toFixed(1) : "–", count(worker.operations_in_flight)];
    }));
  const late = now.rooms.lateness;
  table("queues", ["what", "number", "waiting", "done/s", "skipped or refused", "p50", "p99", "most"], [
    ["ticks of rooms", count(now.rooms.live), "–", count(rate((s) => s.rooms.ticks)), count(now.rooms.ticks_skipped), millis(late.p50_ms), millis(late.p99_ms), millis(late.max_ms)],
    ...now.groups.map((group, at) => [`group ${group.name} (wait)`, `${group.threads} threads`, count(group.waiting), count(rate((s) => s.groups[at].done)),
      count(group.refused), millis(group.wait.p50_ms), millis(group.wait.p99_ms), millis(group.wait.max_ms)]),
  ]);
  const refused = Object.entries(now.refused).filter(([, times]) => times > 0).map(([reason, times]) => [`refused: ${reason}`, count(times)]);
  table("reasons", ["reason", "sessions"], [...Object.entries(now.ended).sort((a, b) => b[1] - a[1]).map(([reason, times]) => [reason, count(times)]), ...refused]);
  last = now;
}

function tell(text) {
  byId("state").textContent = text;
  byId("state").className = "bad";
}

async function watch() {
  const answer = await fetch("api/events", { headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-store" });
  if (answer.status === 401) {
    byId("ask").hidden = false;
    byId("token").focus();
    tell("a token is needed");
    return false;
  }
  if (!answer.ok) throw new Error(await answer.text());
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the server has ended the stream");
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    events.filter((event) => event.startsWith("data:")).forEach((event) => show(JSON.parse(event.slice(5))));
  }
}

async function go() {
  for (;;) {
    try {
      if (!await watch()) return;
    } catch (error) {
      tell(`not connected: ${error.message}`);
      await new Promise((later) => setTimeout(later, 2000));
    }
  }
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value;
  byId("token").value = "";
  byId("ask").hidden = true;
  go();
});
go();
