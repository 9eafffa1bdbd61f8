// Two windows of a browser in the arena, driven by the DevTools protocol: they see each other, walk and talk.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";

const [chromium, file, address, profile] = process.argv.slice(2);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const page = http.createServer((_, response) => {
  response.writeHead(200, { "content-type": "text/html" }).end(fs.readFileSync(file));
});
await new Promise((done) => page.listen(0, "127.0.0.1", done));
const url = `http://127.0.0.1:${page.address().port}/?ws=${address}`;

const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0"];
const browser = spawn(chromium, [...flags, `--user-data-dir=${profile}`, "about:blank"]);
process.on("exit", () => browser.kill("SIGKILL"));
let waits = "the browser";
setTimeout(() => { throw new Error(`still waiting for ${waits}`); }, 100000).unref();
const devtools = await new Promise((done) => {
  let said = "";
  browser.stderr.on("data", (text) => {
    const found = (said += text).match(/DevTools listening on (ws:\S+)/);
    if (found) done(found[1]);
  });
});
const socket = new WebSocket(devtools);
await new Promise((done) => (socket.onopen = done));
const calls = new Map();
socket.onmessage = ({ data }) => {
  const { id, result, error } = JSON.parse(data);
  calls.get(id)?.(result ?? { error });
};
function call(method, params = {}, sessionId = undefined) {
  return new Promise((done) => {
    calls.set(calls.size, done);
    socket.send(JSON.stringify({ id: calls.size - 1, method, params, sessionId }));
  });
}

async function enter(name, width) {
  const { targetId } = await call("Target.createTarget", { url: "about:blank", newWindow: true });
  const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
  const ask = (method, params) => call(method, params, sessionId);
  const run = async (expression) => (await ask("Runtime.evaluate", { expression, returnByValue: true })).result?.value;
  /** Waits until something on the page is so. */
  const until = async (expression) => {
    for (waits = `${name}: ${expression}`; !(await run(expression)); ) await sleep(50);
  };
  await ask("Emulation.setDeviceMetricsOverride", { width, height: 640, deviceScaleFactor: 1, mobile: width < 500 });
  await ask("Emulation.setFocusEmulationEnabled", { enabled: true });
  await ask("Page.navigate", { url });
  await until(`document.readyState === "complete" && !!document.getElementById("enter")?.onsubmit`);
  await run(`document.getElementById("name").value = ${JSON.stringify(name)}; document.getElementById("enter").requestSubmit()`);
  await until(`document.getElementById("status").textContent === "playing"`);
  return { ask, run, until };
}

const [wide, phone] = [await enter("Ada", 1000), await enter("베르타", 390)];
for (const player of [wide, phone]) await player.until(`document.getElementById("seen").textContent === "1 near you"`);
const say = (player, text) =>
  player.run(`document.getElementById("line").value = ${JSON.stringify(text)}; document.getElementById("talk").requestSubmit()`);
await say(wide, "hello <b>there</b>");
await say(phone, "안녕하세요!");
for (const player of [wide, phone]) {
  await player.until(`document.getElementById("log").innerText.includes("Ada: hello <b>there</b>")`);
  await player.until(`document.getElementById("log").innerText.includes("베르타: 안녕하세요!")`);
}
assert.equal(await phone.run("document.documentElement.scrollWidth"), 390, "it fits the width of a phone");
// Walking takes one out of the other's view, and a player who leaves is seen by none.
const key = { code: "ArrowRight", key: "ArrowRight" };
await wide.ask("Input.dispatchKeyEvent", { type: "keyDown", ...key });
await phone.until(`document.getElementById("seen").textContent === "nobody near you"`);
await wide.ask("Input.dispatchKeyEvent", { type: "keyUp", ...key });
console.log("played");
process.exit(0);
