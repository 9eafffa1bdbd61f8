// A client over WebSocket at the server of the test: packets come to their callbacks, and a cut ends nothing.
import assert from "node:assert/strict";
import net from "node:net";

const [address, older, quiet] = process.argv.slice(2);
const k = await import(process.env.CLIENT);

// What is waited for and never comes is a failure with a line of its own.
let waits = "nothing";
setTimeout(() => { throw new Error(`still waiting: ${waits}`); }, 60000).unref();

/** The next call of a callback. */
const next = (client, name) => (waits = name, new Promise((done) => (client[name] = done)));
const heard = (client, name) => new Promise((done) => { const stop = client.on(name, (body) => (stop(), done(body))); waits = name; });

{
  // Packets in order to the callbacks of their names, however long they are and however many came in one message.
  const client = new k.NaksiClient(address);
  assert.equal(client.send(k.Ping), false, "nothing is sent before it is open");
  const opened = next(client, "onOpen");
  client.connect();
  client.connect();
  assert.equal(client.state, "connecting");
  await opened;
  const echoed = heard(client, "Say");
  assert.equal(client.send(k.Say, { text: "안녕하세요, 낚시! 🎣", to: 7 }), true);
  assert.deepEqual(await echoed, k.Say.create({ text: "안녕하세요, 낚시! 🎣", to: 7 }));

  const order = [];
  const others = [];
  client.onPacket = (packet) => others.push(packet.name);
  const all = new Promise((done) => client.on("Say", (say) => (order.push(say), say.to === 299 && done())));
  client.send(k.Say, { text: "many, please" });
  await all;
  assert.deepEqual(order.map((say) => [say.to, say.text.length]), Array.from({ length: 300 }, (_, at) => [at, at * 4]));
  assert.deepEqual(others, ["Ping", "Ping"], "what has no callback of its own");

  // A callback that throws, and a packet that is wrong, end nothing.
  const thrown = new Promise((done) => process.once("uncaughtException", done));
  const stop = client.on("Ping", () => { throw new Error("of the page itself"); });
  client.send(k.Ping);
  const after = heard(client, "Say");
  client.send(k.Say, { text: "behind it" });
  assert.equal((await after).text, "behind it");
  assert.equal((await thrown).message, "of the page itself");
  stop();
  let wrong = next(client, "onError");
  client.send(k.Say, { text: "a stranger, please" });
  assert((await wrong) instanceof k.UnknownPacket);
  wrong = next(client, "onError");
  client.send(k.Say, { text: "something broken, please" });
  assert((await wrong) instanceof k.MalformedPacket);

  // A cut: it says so, connects again and keeps its callbacks.
  const cut = next(client, "onClose");
  const again = next(client, "onOpen");
  client.send(k.Say, { text: "a cut, please" });
  const closed = await cut;
  assert.deepEqual([closed.code, closed.wasOpen, client.state], [1006, true, "waiting"]);
  assert(closed.retryIn >= 250 && closed.retryIn <= 500, `${closed.retryIn}`);
  assert.equal(client.send(k.Ping), false, "nothing is sent in between");
  await again;
  const kept = heard(client, "Say");
  client.send(k.Say, { text: "there again" });
  assert.equal((await kept).text, "there again");

  // The application's own reason is told, and ends it for good.
  const banned = next(client, "onClose");
  client.send(k.Say, { text: "a ban, please" });
  assert.deepEqual(await banned, { code: 4001, reason: "banned for 3 days", text: "banned for 3 days", wasOpen: true, retryIn: undefined });
  assert.equal(client.state, "idle");

  // A stream that is none is closed. What the callback itself ends is not shown any further.
  const once = next(client, "onOpen");
  client.connect();
  await once;
  wrong = next(client, "onError");
  const left = next(client, "onClose");
  client.send(k.Say, { text: "a frame that is none, please" });
  assert((await wrong) instanceof k.FrameTooShort);
  assert.equal((await left).code, 4400);
  const last = next(client, "onOpen");
  client.connect();
  await last;
  let shown = 0;
  client.on("Say", () => (++shown, client.close()));
  const over = next(client, "onClose");
  client.send(k.Say, { text: "many, please" });
  assert.deepEqual(await over, { code: 1000, reason: "", text: "", wasOpen: true, retryIn: undefined });
  await new Promise((done) => setTimeout(done, 50));
  assert.equal(shown, 1);
}

{
  // A server with another packet table: refused with both versions, and not tried again.
  const client = new k.NaksiClient(older);
  const refused = next(client, "onClose");
  client.onOpen = () => assert.fail("it is not open");
  client.connect();
  const { reason, text, wasOpen, retryIn } = await refused;
  const versions = [k.VERSION, 0xcbf29ce484222325n].map((version) => version.toString(16).padStart(16, "0"));
  assert.equal(text, `the client has packet table ${versions[0]}, the server ${versions[1]}`);
  assert.deepEqual([reason, wasOpen, retryIn, client.state], ["version_refused", false, undefined, "idle"]);
}

{
  // A server that ends what is silent for 900 ms: the client is not. One that does not begin with HELLO is.
  const client = new k.NaksiClient(quiet);
  const silent = new k.NaksiClient(quiet, { hello: false, reconnects: false });
  const [opened, ended] = [next(client, "onOpen"), next(silent, "onClose")];
  client.connect();
  silent.connect();
  await opened;
  client.onClose = () => assert.fail("it is kept alive");
  assert.equal((await ended).reason, "idle");
  await new Promise((done) => setTimeout(done, 1800));
  const echoed = heard(client, "Say");
  client.send(k.Say, { text: "still there" });
  assert.equal((await echoed).text, "still there");
  client.onClose = () => {};
  client.close();
}

{
  // Where nothing listens it tries again, later each time, until it is closed.
  const closedPort = await new Promise((done) => {
    const listener = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = listener.address();
      listener.close(() => done(port));
    });
  });
  const client = new k.NaksiClient(`ws://127.0.0.1:${closedPort}`, { retryMs: 8, retryMsMax: 40 });
  const pauses = [];
  await new Promise((done) => {
    client.onClose = (closed) => {
      assert.equal(closed.wasOpen, false);
      pauses.push(closed.retryIn);
      if (pauses.length === 5) done();
    };
    client.connect();
  });
  client.close();
  assert.equal(client.state, "idle");
  for (const [at, most] of [8, 16, 32, 40, 40].entries()) {
    assert(pauses[at] >= most / 2 && pauses[at] <= most, `${pauses}`);
  }
}

{
  // With a class of the page's own: messages cut anywhere, a socket that is full, one that never opens.
  class Scripted {
    static all = [];
    bufferedAmount = 0;
    sent = [];
    constructor(url, protocols) {
      this.asked = [url, protocols];
      Scripted.all.push(this);
    }
    send(bytes) {
      this.sent.push(bytes);
    }
    close(...why) {
      this.left = why;
    }
  }
  const client = new k.NaksiClient("ws://x", { socket: Scripted, hello: false, protocols: ["naksi.1"], openMsMax: 1, retryMs: 1, sendBytesMax: 100 });
  const late = next(client, "onClose");
  client.connect();
  assert.deepEqual(Scripted.all[0].asked, ["ws://x", ["naksi.1"]]);
  assert.deepEqual([(await late).reason, Scripted.all[0].left], ["not open in time", []]);
  client.connect();
  const [before, socket] = Scripted.all.slice(-2);
  before.onopen({});
  assert.equal(client.state, "connecting", "a socket whose place was taken is not heard");
  socket.onopen({});
  before.onclose({ code: 1006, reason: "" });
  assert.equal(client.state, "open", "a socket whose place was taken is not heard");
  const said = [];
  client.on("Say", (say) => said.push(say.text));
  const stream = Uint8Array.of(...k.Say.frame({ text: "one" }), ...k.Say.frame({ text: "two" }), ...k.Ping.frame());
  for (let cut = 0; cut <= stream.length; cut++) {
    socket.onmessage({ data: stream.slice(0, cut).buffer });
    socket.onmessage({ data: stream.slice(cut).buffer });
  }
  for (const byte of stream) socket.onmessage({ data: Uint8Array.of(byte).buffer });
  assert.deepEqual(said, Array.from({ length: stream.length + 2 }, () => ["one", "two"]).flat());
  socket.bufferedAmount = 90;
  assert.equal(client.send(k.Ping), true);
  assert.equal(client.send(k.Say, { text: "too long for it" }), false);
  assert.equal(socket.sent.length, 1);
  const text = next(client, "onError");
  socket.onmessage({ data: "text" });
  assert((await text) instanceof k.NaksiError);
  assert.deepEqual([client.state, socket.left[0]], ["idle", 4400]);
}

for (let failures = 0; failures < 2000; failures++) {
  const most = Math.min(30000, 500 * 2 ** failures);
  assert.equal(k.reconnectDelay(failures, undefined, undefined, 0), most / 2);
  assert.equal(k.reconnectDelay(failures, undefined, undefined, 1), most);
}
console.log("connected");
// Node's own class may keep the socket of a closed connection for a while.
process.exit(0);
