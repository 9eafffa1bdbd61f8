// Talks with the server of the test: whatever it is told comes back, and is the same; what is wrong has its name.
import assert from "node:assert/strict";
import net from "node:net";

const [address] = process.argv.slice(2);
const k = await import(process.env.CLIENT);
const [host, port] = address.split(":");
const socket = net.connect(Number(port), host);
const reader = new k.PacketReader();
const chunks = socket[Symbol.asyncIterator]();

async function receive() {
  for (;;) {
    const packet = reader.next();
    if (packet) return packet;
    const { value, done } = await chunks.next();
    assert(!done, "the server has closed");
    // However bytes come: one by one.
    for (const byte of value) reader.push(Uint8Array.of(byte));
  }
}

async function failure() {
  try {
    await receive();
  } catch (error) {
    return error;
  }
  throw new Error("it was read");
}

function trees(depth) {
  const fruits = [{ name: "apple", growth: k.TreeGrowth.WILD }];
  let tree = k.Tree.create({ fruits, growth: k.TreeGrowth.WILD });
  for (; depth > 0; depth--) tree = k.Tree.create({ trunk: tree });
  return tree;
}

const big = 2n ** 63n - 1n;
const told = [
  k.Say.frame(),
  k.Say.frame({ text: "안녕하세요, 낚시! 🎣", to: 0 }),
  k.Say.frame({ text: "x".repeat(5000), to: 4294967295 }),
  k.Numbers.frame({ doubleOne: Math.PI, floatOne: -0.5, int32One: -1, int64One: -1n, uint32One: 4294967295 }),
  k.Numbers.frame({ uint64One: 2n ** 64n - 1n, sint32One: -2147483648, sint64One: -big - 1n, boolOne: true }),
  k.Numbers.frame({ int32One: 2147483647, int64One: big, sint32One: 2147483647, sint64One: big, fixed32One: 4294967295 }),
  k.Numbers.frame({ fixed64One: 2n ** 64n - 1n, sfixed32One: -2147483648, sfixed64One: -big, doubleOne: Infinity }),
  k.Holds.frame({ blob: Uint8Array.of(0, 1, 255), mood: k.Mood.GRIM, place: { x: -7, y: 1 << 30 } }),
  k.Holds.frame({ path: [{ x: 1, y: -1 }, { x: 0, y: 0 }], names: ["", "낚시"], deltas: [0n, -1n, big], wish: 0 }),
  k.Holds.frame({ weights: [0, 0.1], moods: [1, 0, 99], loose: [0, 128, 16384], note: "", sure: false }),
  k.Ping.frame(),
  k.Order.frame({ go: { x: 1, y: 2 } }),
  k.Order.frame({ shout: "" }),
  k.Order.frame({ wait: 0 }),
  k.Buffer.frame({ bytes: Uint8Array.of(7) }),
  k.C2sLogin.frame({ name: "낚시", buffer: { bytes: new Uint8Array(0) }, jsonIsOther: "x" }),
  k.Tree.frame(trees(50)),
];
for (const frame of told) {
  socket.write(frame);
  const packet = await receive();
  assert.deepEqual(k[packet.name].frame(packet.body), frame);
}
const { name, body } = (socket.write(told[7]), await receive());
assert.equal(name, "Holds");
assert.deepEqual(body, k.Holds.create({ blob: Uint8Array.of(0, 1, 255), mood: -3, place: { x: -7, y: 1 << 30 } }));

socket.write(k.Say.frame({ text: "the version, please" }));
const answer = await receive();
assert.equal(answer.body.text, k.VERSION.toString());

// What the server makes by chance is the same when it has been read and written here.
socket.write(k.Say.frame({ text: "things by chance, please" }));
for (let count = 0; count < 400; count++) {
  const { name, body } = await receive();
  socket.write(k[name].frame(body));
}

// What is cut anywhere is refused by name, or it is another message.
for (const frame of told) {
  const [id, bytes] = [frame[2] | (frame[3] << 8), frame.subarray(4)];
  for (let cut = 0; cut < Math.min(bytes.length, 200); cut++) {
    try {
      k.decodePacket(id, bytes.subarray(0, cut));
    } catch (error) {
      assert(error instanceof k.MalformedPacket, `${error}`);
    }
  }
}
const nested = (depth) => (depth === 0 ? Uint8Array.of() : Uint8Array.of(0x0b, ...nested(depth - 1), 0x0c));
const both = Uint8Array.of(...k.Order.encode({ shout: "no" }), ...k.Order.encode({ wait: 7 }));
assert.deepEqual(k.Order.decode(both), k.Order.create({ wait: 7 }), "of several the last one counts");
assert.deepEqual(k.Tree.decode(k.Tree.encode(trees(99))), trees(99));
assert.throws(() => k.Tree.decode(k.Tree.encode(trees(1000))), k.Malformed);
assert.throws(() => k.Ping.decode(nested(1000)), k.Malformed);
assert.deepEqual(k.Ping.decode(nested(50)), {});
assert.throws(() => k.Numbers.frame({ uint32One: -1 }), RangeError);
assert.throws(() => k.Say.frame({ text: "x".repeat(65536) }), RangeError);

socket.write(k.Say.frame({ text: "a stranger, please" }));
const unknown = await failure();
assert(unknown instanceof k.UnknownPacket);
assert.equal(
  unknown.message,
  "unknown packet id 13 (6 bytes); the nearest known are 11 Holds, 10 Numbers, 1 Say",
);
socket.write(k.Say.frame({ text: "something broken, please" }));
const malformed = await failure();
assert(malformed instanceof k.MalformedPacket);
assert.equal(malformed.message, "4 bytes are no Say (packet id 1): the end is missing");
socket.write(k.Ping.frame());
assert.equal((await receive()).name, "Ping", "behind what is broken it goes on");
socket.write(k.Say.frame({ text: "a frame that is none, please" }));
assert((await failure()) instanceof k.FrameTooShort);
socket.destroy();
console.log(`talked ${told.length}`);
