// Written by `naksi gen` from kinds.proto; not to be edited.
//
// Connect: const client = new NaksiClient("wss://…"); client.connect();
// Send:    client.send(Say, { … });
// Receive: client.on("Say", (body) => { … });
// Over another transport, `Say.frame` makes the bytes and `PacketReader` reads them.

/** The version of the table `KINDS`: peers with one number understand each other. */
export const VERSION = 0x911d03c5aa522995n;

/** How it grows. */
export type TreeGrowth = number;
/** The values of `TreeGrowth` that have a name; a newer peer may send others. */
export const TreeGrowth = {
  NONE: 0,
  WILD: 1,
} as const;

/** What a player does. */
export type Mood = number;
/** The values of `Mood` that have a name; a newer peer may send others. */
export const Mood = {
  CALM: 0,
  MERRY: 1,
  /** Not to be spoken to. */
  GRIM: -3,
} as const;

/** A place in the world. */
export interface Place {
  x: number;
  y: number;
}

/** A player says something. */
export interface Say {
  /** What is said. */
  text: string;
  /** To whom; to everybody without it. */
  to?: number | undefined;
}

/** Every number that there is. */
export interface Numbers {
  doubleOne: number;
  floatOne: number;
  int32One: number;
  int64One: bigint;
  uint32One: number;
  uint64One: bigint;
  sint32One: number;
  sint64One: bigint;
  fixed32One: number;
  fixed64One: bigint;
  sfixed32One: number;
  sfixed64One: bigint;
  boolOne: boolean;
}

/** What holds more than one, or another message, or nothing at all. */
export interface Holds {
  blob: Uint8Array;
  mood: Mood;
  place?: Place | undefined;
  path: Place[];
  names: string[];
  deltas: bigint[];
  weights: number[];
  moods: Mood[];
  loose: number[];
  note?: string | undefined;
  sure?: boolean | undefined;
  wish?: Mood | undefined;
}

/** Nothing but itself. */
export interface Ping {
}

/** One of several things to do. */
export interface Order {
  go?: Place | undefined;
  shout?: string | undefined;
  wait?: number | undefined;
}

/** What hangs in it. */
export interface TreeFruit {
  name: string;
  growth: TreeGrowth;
}

/** What holds itself, and what is only its own. */
export interface Tree {
  trunk?: Tree | undefined;
  branches: Tree[];
  fruits: TreeFruit[];
  growth: TreeGrowth;
}

/** Called as something of the system that a client is written for. */
export interface Buffer {
  bytes: Uint8Array;
}

/** Called as no language calls its types. */
export interface C2sLogin {
  name: string;
  buffer?: Buffer | undefined;
  jsonIsOther: string;
}

export const Place = {
  create(some: Partial<Place> = {}): Place {
    return {
      x: 0,
      y: 0,
      ...some,
    };
  },

  encode(some: Partial<Place>): Uint8Array {
    const out = new WireWriter();
    Place.write(Place.create(some), out);
    return out.finish();
  },

  decode(bytes: Uint8Array): Place {
    return Place.merge(Place.create(), new WireReader(bytes));
  },

  write(message: Place, out: WireWriter): void {
    if (message.x !== 0) out.key(8).sint32(message.x);
    if (message.y !== 0) out.key(16).sint32(message.y);
  },

  merge(message: Place, from: WireReader): Place {
    for (let key = from.key(); key !== 0; key = from.key()) {
      switch (key) {
        case 8: // 1
          message.x = from.sint32();
          break;
        case 16: // 2
          message.y = from.sint32();
          break;
        default:
          from.skip(key);
      }
    }
    return message;
  },
};

export const Say = {
  id: 1,

  create(some: Partial<Say> = {}): Say {
    return {
      text: "",
      to: undefined,
      ...some,
    };
  },

  encode(some: Partial<Say>): Uint8Array {
    const out = new WireWriter();
    Say.write(Say.create(some), out);
    return out.finish();
  },

  /** The whole packet, ready to be sent. */
  frame(some: Partial<Say> = {}): Uint8Array {
    return frame(Say.id, Say.encode(some));
  },

  decode(bytes: Uint8Array): Say {
    return Say.merge(Say.create(), new WireReader(bytes));
  },

  write(message: Say, out: WireWriter): void {
    if (message.text !== "") out.key(10).string(message.text);
    const to_ = message.to;
    if (to_ !== undefined) out.key(16).uint32(to_);
  },

  merge(message: Say, from: WireReader): Say {
    for (let key = from.key(); key !== 0; key = from.key()) {
      switch (key) {
        case 10: // 1
          message.text = from.string();
          break;
        case 16: // 2
          message.to = from.uint32();
          break;
        default:
          from.skip(key);
      }
    }
    return message;
  },
};

export const Numbers = {
  id: 10,

  create(some: Partial<Numbers> = {}): Numbers {
    return {
      doubleOne: 0,
      floatOne: 0,
      int32One: 0,
      int64One: 0n,
      uint32One: 0,
      uint64One: 0n,
      sint32One: 0,
      sint64One: 0n,
      fixed32One: 0,
      fixed64One: 0n,
      sfixed32One: 0,
      sfixed64One: 0n,
      boolOne: false,
      ...some,
    };
  },

  encode(some: Partial<Numbers>): Uint8Array {
    const out = new WireWriter();
    Numbers.write(Numbers.create(some), out);
    return out.finish();
  },

  /** The whole packet, ready to be sent. */
  frame(some: Partial<Numbers> = {}): Uint8Array {
    return frame(Numbers.id, Numbers.encode(some));
  },

  decode(bytes: Uint8Array): Numbers {
    return Numbers.merge(Numbers.create(), new WireReader(bytes));
  },

  write(message: Numbers, out: WireWriter): void {
    if (!Object.is(message.doubleOne, 0)) out.key(9).double(message.doubleOne);
    if (!Object.is(message.floatOne, 0)) out.key(21).float(message.floatOne);
    if (message.int32One !== 0) out.key(24).int32(message.int32One);
    if (message.int64One !== 0n) out.key(32).int64(message.int64One);
    if (message.uint32One !== 0) out.key(40).uint32(message.uint32One);
    if (message.uint64One !== 0n) out.key(48).uint64(message.uint64One);
    if (message.sint32One !== 0) out.key(56).sint32(message.sint32One);
    if (message.sint64One !== 0n) out.key(64).sint64(message.sint64One);
    if (message.fixed32One !== 0) out.key(77).fixed32(message.fixed32One);
    if (message.fixed64One !== 0n) out.key(81).fixed64(message.fixed64One);
    if (message.sfixed32One !== 0) out.key(93).sfixed32(message.sfixed32One);
    if (message.sfixed64One !== 0n) out.key(97).sfixed64(message.sfixed64One);
    if (message.boolOne) out.key(104).bool(message.boolOne);
  },

  merge(message: Numbers, from: WireReader): Numbers {
    for (let key = from.key(); key !== 0; key = from.key()) {
      switch (key) {
        case 9: // 1
          message.doubleOne = from.double();
          break;
        case 21: // 2
          message.floatOne = from.float();
          break;
        case 24: // 3
          message.int32One = from.int32();
          break;
        case 32: // 4
          message.int64One = from.int64();
          break;
        case 40: // 5
          message.uint32One = from.uint32();
          break;
        case 48: // 6
          message.uint64One = from.uint64();
          break;
        case 56: // 7
          message.sint32One = from.sint32();
          break;
        case 64: // 8
          message.sint64One = from.sint64();
          break;
        case 77: // 9
          message.fixed32One = from.fixed32();
          break;
        case 81: // 10
          message.fixed64One = from.fixed64();
          break;
        case 93: // 11
          message.sfixed32One = from.sfixed32();
          break;
        case 97: // 12
          message.sfixed64One = from.sfixed64();
          break;
        case 104: // 13
          message.boolOne = from.bool();
          break;
        default:
          from.skip(key);
      }
    }
    return message;
  },
};

export const Holds = {
  id: 11,

  create(some: Partial<Holds> = {}): Holds {
    return {
      blob: new Uint8Array(0),
      mood: 0,
      place: undefined,
      path: [],
      names: [],
      deltas: [],
      weights: [],
      moods: [],
      loose: [],
      note: undefined,
      sure: undefined,
      wish: undefined,
      ...some,
    };
  },

  encode(some: Partial<Holds>): Uint8Array {
    const out = new WireWriter();
    Holds.write(Holds.create(some), out);
    return out.finish();
  },

  /** The whole packet, ready to be sent. */
  frame(some: Partial<Holds> = {}): Uint8Array {
    return frame(Holds.id, Holds.encode(some));
  },

  decode(bytes: Uint8Array): Holds {
    return Holds.merge(Holds.create(), new WireReader(bytes));
  },

  write(message: Holds, out: WireWriter): void {
    if (message.blob.length > 0) out.key(10).blob(message.blob);
    if (message.mood !== 0) out.key(16).int32(message.mood);
    const place_ = message.place;
    if (place_ !== undefined) out.key(26).sub((out) => Place.write(place_, out));
    for (const one of message.path) out.key(34).sub((out) => Place.write(one, out));
    for (const one of message.names) out.key(42).string(one);
    if (message.deltas.length > 0) {
      out.key(50).sub((out) => {
        for (const one of message.deltas) out.sint64(one);
      });
    }
    if (message.weights.length > 0) {
      out.key(58).sub((out) => {
        for (const one of message.weights) out.double(one);
      });
    }
    if (message.moods.length > 0) {
      out.key(66).sub((out) => {
        for (const one of message.moods) out.int32(one);
      });
    }
    for (const one of message.loose) out.key(72).uint32(one);
    const note_ = message.note;
    if (note_ !== undefined) out.key(82).string(note_);
    const sure_ = message.sure;
    if (sure_ !== undefined) out.key(88).bool(sure_);
    const wish_ = message.wish;
    if (wish_ !== undefined) out.key(16000).int32(wish_);
  },

  merge(message: Holds, from: WireReader): Holds {
    for (let key = from.key(); key !== 0; key = from.key()) {
      switch (key) {
        case 10: // 1
          message.blob = from.blob();
          break;
        case 16: // 2
          message.mood = from.int32();
          break;
        case 26: // 3
          message.place = Place.merge(message.place ?? Place.create(), from.sub());
          break;
        case 34: // 4
          message.path.push(Place.merge(Place.create(), from.sub()));
          break;
        case 42: // 5
          message.names.push(from.string());
          break;
        case 48: // 6
          message.deltas.push(from.sint64());
          break;
        case 50: // 6, together
          from.packed(() => message.deltas.push(from.sint64()));
          break;
        case 57: // 7
          message.weights.push(from.double());
          break;
        case 58: // 7, together
          from.packed(() => message.weights.push(from.double()));
          break;
        case 64: // 8
          message.moods.push(from.int32());
          break;
        case 66: // 8, together
          from.packed(() => message.moods.push(from.int32()));
          break;
        case 72: // 9
          message.loose.push(from.uint32());
          break;
        case 74: // 9, together
          from.packed(() => message.loose.push(from.uint32()));
          break;
        case 82: // 10
          message.note = from.string();
          break;
        case 88: // 11
          message.sure = from.bool();
          break;
        case 16000: // 2000
          message.wish = from.int32();
          break;
        default:
          from.skip(key);
      }
    }
    return message;
  },
};

export const Ping = {
  id: 300,

  create(some: Partial<Ping> = {}): Ping {
    return {
      ...some,
    };
  },

  encode(some: Partial<Ping>): Uint8Array {
    const out = new WireWriter();
    Ping.write(Ping.create(some), out);
    return out.finish();
  },

  /** The whole packet, ready to be sent. */
  frame(some: Partial<Ping> = {}): Uint8Array {
    return frame(Ping.id, Ping.encode(some));
  },

  decode(bytes: Uint8Array): Ping {
    return Ping.merge(Ping.create(), new WireReader(bytes));
  },

  write(_message: Ping, _out: WireWriter): void {
  },

  merge(message: Ping, from: WireReader): Ping {
    for (let key = from.key(); key !== 0; key = from.key()) {
      switch (key) {
        default:
          from.skip(key);
      }
    }
    return message;
  },
};

export const Order = {
  id: 301,

  create(some: Partial<Order> = {}): Order {
    return {
      go: undefined,
      shout: undefined,
      wait: undefined,
      ...some,
    };
  },

  encode(some: Partial<Order>): Uint8Array {
    const out = new WireWriter();
    Order.write(Order.create(some), out);
    return out.finish();
  },

  /** The whole packet, ready to be sent. */
  frame(some: Partial<Order> = {}): Uint8Array {
    return frame(Order.id, Order.encode(some));
  },

  decode(bytes: Uint8Array): Order {
    return Order.merge(Order.create(), new WireReader(bytes));
  },

  write(message: Order, out: WireWriter): void {
    const go_ = message.go;
    if (go_ !== undefined) out.key(10).sub((out) => Place.write(go_, out));
    const shout_ = message.shout;
    if (shout_ !== undefined) out.key(18).string(shout_);
    const wait_ = message.wait;
    if (wait_ !== undefined) out.key(24).uint32(wait_);
  },

  merge(message: Order, from: WireReader): Order {
    for (let key = from.key(); key !== 0; key = from.key()) {
      switch (key) {
        case 10: // 1
          message.go = Place.merge(message.go ?? Place.create(), from.sub());
          message.shout = undefined;
          message.wait = undefined;
          break;
        case 18: // 2
          message.shout = from.string();
          message.go = undefined;
          message.wait = undefined;
          break;
        case 24: // 3
          message.wait = from.uint32();
          message.go = undefined;
          message.shout = undefined;
          break;
        default:
          from.skip(key);
      }
    }
    return message;
  },
};

export const TreeFruit = {
  create(some: Partial<TreeFruit> = {}): TreeFruit {
    return {
      name: "",
      growth: 0,
      ...some,
    };
  },

  encode(some: Partial<TreeFruit>): Uint8Array {
    const out = new WireWriter();
    TreeFruit.write(TreeFruit.create(some), out);
    return out.finish();
  },

  decode(bytes: Uint8Array): TreeFruit {
    return TreeFruit.merge(TreeFruit.create(), new WireReader(bytes));
  },

  write(message: TreeFruit, out: WireWriter): void {
    if (message.name !== "") out.key(10).string(message.name);
    if (message.growth !== 0) out.key(16).int32(message.growth);
  },

  merge(message: TreeFruit, from: WireReader): TreeFruit {
    for (let key = from.key(); key !== 0; key = from.key()) {
      switch (key) {
        case 10: // 1
          message.name = from.string();
          break;
        case 16: // 2
          message.growth = from.int32();
          break;
        default:
          from.skip(key);
      }
    }
    return message;
  },
};

export const Tree = {
  id: 302,

  create(some: Partial<Tree> = {}): Tree {
    return {
      trunk: undefined,
      branches: [],
      fruits: [],
      growth: 0,
      ...some,
    };
  },

  encode(some: Partial<Tree>): Uint8Array {
    const out = new WireWriter();
    Tree.write(Tree.create(some), out);
    return out.finish();
  },

  /** The whole packet, ready to be sent. */
  frame(some: Partial<Tree> = {}): Uint8Array {
    return frame(Tree.id, Tree.encode(some));
  },

  decode(bytes: Uint8Array): Tree {
    return Tree.merge(Tree.create(), new WireReader(bytes));
  },

  write(message: Tree, out: WireWriter): void {
    const trunk_ = message.trunk;
    if (trunk_ !== undefined) out.key(10).sub((out) => Tree.write(trunk_, out));
    for (const one of message.branches) out.key(18).sub((out) => Tree.write(one, out));
    for (const one of message.fruits) out.key(26).sub((out) => TreeFruit.write(one, out));
    if (message.growth !== 0) out.key(32).int32(message.growth);
  },

  merge(message: Tree, from: WireReader): Tree {
    for (let key = from.key(); key !== 0; key = from.key()) {
      switch (key) {
        case 10: // 1
          message.trunk = Tree.merge(message.trunk ?? Tree.create(), from.sub());
          break;
        case 18: // 2
          message.branches.push(Tree.merge(Tree.create(), from.sub()));
          break;
        case 26: // 3
          message.fruits.push(TreeFruit.merge(TreeFruit.create(), from.sub()));
          break;
        case 32: // 4
          message.growth = from.int32();
          break;
        default:
          from.skip(key);
      }
    }
    return message;
  },
};

export const Buffer = {
  id: 303,

  create(some: Partial<Buffer> = {}): Buffer {
    return {
      bytes: new Uint8Array(0),
      ...some,
    };
  },

  encode(some: Partial<Buffer>): Uint8Array {
    const out = new WireWriter();
    Buffer.write(Buffer.create(some), out);
    return out.finish();
  },

  /** The whole packet, ready to be sent. */
  frame(some: Partial<Buffer> = {}): Uint8Array {
    return frame(Buffer.id, Buffer.encode(some));
  },

  decode(bytes: Uint8Array): Buffer {
    return Buffer.merge(Buffer.create(), new WireReader(bytes));
  },

  write(message: Buffer, out: WireWriter): void {
    if (message.bytes.length > 0) out.key(10).blob(message.bytes);
  },

  merge(message: Buffer, from: WireReader): Buffer {
    for (let key = from.key(); key !== 0; key = from.key()) {
      switch (key) {
        case 10: // 1
          message.bytes = from.blob();
          break;
        default:
          from.skip(key);
      }
    }
    return message;
  },
};

export const C2sLogin = {
  id: 304,

  create(some: Partial<C2sLogin> = {}): C2sLogin {
    return {
      name: "",
      buffer: undefined,
      jsonIsOther: "",
      ...some,
    };
  },

  encode(some: Partial<C2sLogin>): Uint8Array {
    const out = new WireWriter();
    C2sLogin.write(C2sLogin.create(some), out);
    return out.finish();
  },

  /** The whole packet, ready to be sent. */
  frame(some: Partial<C2sLogin> = {}): Uint8Array {
    return frame(C2sLogin.id, C2sLogin.encode(some));
  },

  decode(bytes: Uint8Array): C2sLogin {
    return C2sLogin.merge(C2sLogin.create(), new WireReader(bytes));
  },

  write(message: C2sLogin, out: WireWriter): void {
    if (message.name !== "") out.key(10).string(message.name);
    const buffer_ = message.buffer;
    if (buffer_ !== undefined) out.key(18).sub((out) => Buffer.write(buffer_, out));
    if (message.jsonIsOther !== "") out.key(26).string(message.jsonIsOther);
  },

  merge(message: C2sLogin, from: WireReader): C2sLogin {
    for (let key = from.key(); key !== 0; key = from.key()) {
      switch (key) {
        case 10: // 1
          message.name = from.string();
          break;
        case 18: // 2
          message.buffer = Buffer.merge(message.buffer ?? Buffer.create(), from.sub());
          break;
        case 26: // 3
          message.jsonIsOther = from.string();
          break;
        default:
          from.skip(key);
      }
    }
    return message;
  },
};

/** A packet that came: switch on its name. */
export type Packet =
  | { id: 1; name: "Say"; body: Say }
  | { id: 10; name: "Numbers"; body: Numbers }
  | { id: 11; name: "Holds"; body: Holds }
  | { id: 300; name: "Ping"; body: Ping }
  | { id: 301; name: "Order"; body: Order }
  | { id: 302; name: "Tree"; body: Tree }
  | { id: 303; name: "Buffer"; body: Buffer }
  | { id: 304; name: "C2sLogin"; body: C2sLogin };

/** Which id is which message. */
export const PACKETS: readonly { id: number; name: string }[] = [
  { id: 1, name: "Say" },
  { id: 10, name: "Numbers" },
  { id: 11, name: "Holds" },
  { id: 300, name: "Ping" },
  { id: 301, name: "Order" },
  { id: 302, name: "Tree" },
  { id: 303, name: "Buffer" },
  { id: 304, name: "C2sLogin" },
];

/** Reads a packet's body. Throws `UnknownPacket` or `MalformedPacket`. */
export function decodePacket(id: number, body: Uint8Array): Packet {
  switch (id) {
    case 1:
      return { id, name: "Say", body: whole(id, "Say", body, Say.decode) };
    case 10:
      return { id, name: "Numbers", body: whole(id, "Numbers", body, Numbers.decode) };
    case 11:
      return { id, name: "Holds", body: whole(id, "Holds", body, Holds.decode) };
    case 300:
      return { id, name: "Ping", body: whole(id, "Ping", body, Ping.decode) };
    case 301:
      return { id, name: "Order", body: whole(id, "Order", body, Order.decode) };
    case 302:
      return { id, name: "Tree", body: whole(id, "Tree", body, Tree.decode) };
    case 303:
      return { id, name: "Buffer", body: whole(id, "Buffer", body, Buffer.decode) };
    case 304:
      return { id, name: "C2sLogin", body: whole(id, "C2sLogin", body, C2sLogin.decode) };
    default:
      throw new UnknownPacket(id, HEADER_BYTES + body.length);
  }
}

// What follows is the same for every table.

/** Anything that is wrong with what a peer sent. */
export class NaksiError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** A frame says that it is shorter than its own header: the stream cannot be read any further. */
export class FrameTooShort extends NaksiError {
  constructor(bytes: number) {
    super(`a frame of ${bytes} bytes is shorter than its header`);
  }
}

/** A frame is longer than it may be: the stream cannot be read any further. */
export class FrameTooLong extends NaksiError {
  constructor(bytes: number, bytesMax: number) {
    super(`a frame of ${bytes} bytes is longer than ${bytesMax}`);
  }
}

/** A packet came whose id is in no line of the table. */
export class UnknownPacket extends NaksiError {
  readonly id: number;
  /** Bytes of its frame, the header included. */
  readonly bytes: number;

  constructor(id: number, bytes: number) {
    const near = [...PACKETS].sort((a, b) => Math.abs(a.id - id) - Math.abs(b.id - id) || a.id - b.id);
    const names = near.slice(0, 3).map((packet) => `${packet.id} ${packet.name}`);
    super(`unknown packet id ${id} (${bytes} bytes); the nearest known are ${names.join(", ")}`);
    this.id = id;
    this.bytes = bytes;
  }
}

/** Bytes are no message. */
export class Malformed extends NaksiError {}

/** A packet's body is not what its id says. */
export class MalformedPacket extends Malformed {
  readonly id: number;
  /** What it should have been. */
  readonly packet: string;
  /** Bytes of the body. */
  readonly bytes: number;

  constructor(id: number, packet: string, bytes: number, why: string) {
    super(`${bytes} bytes are no ${packet} (packet id ${id}): ${why}`);
    this.id = id;
    this.packet = packet;
    this.bytes = bytes;
  }
}

/** Bytes of a frame's header: `[u16 LE size, header included][u16 LE id]`. */
export const HEADER_BYTES = 4;
/** Bytes that a frame can have. */
export const FRAME_BYTES_MAX = 65535;

/** A frame with this body. Throws a `RangeError` for a body of more than 65,531 bytes. */
export function frame(id: number, body: Uint8Array): Uint8Array {
  const bytes = HEADER_BYTES + body.length;
  if (bytes > FRAME_BYTES_MAX) throw new RangeError(`a body of ${body.length} bytes fits no frame`);
  const whole = new Uint8Array(bytes);
  whole.set([bytes & 255, bytes >> 8, id & 255, id >> 8]);
  whole.set(body, HEADER_BYTES);
  return whole;
}

/** A whole frame. */
export interface Frame {
  id: number;
  body: Uint8Array;
}

/** Cuts frames out of a stream of bytes, however these come. */
export class FrameReader {
  private kept = new Uint8Array(0);
  private readonly bytesMax: number;

  /** Frames of more than `bytesMax` bytes are refused. */
  constructor(bytesMax: number = FRAME_BYTES_MAX) {
    this.bytesMax = bytesMax;
  }

  /** Takes what came. */
  push(chunk: Uint8Array): void {
    const both = new Uint8Array(this.kept.length + chunk.length);
    both.set(this.kept);
    both.set(chunk, this.kept.length);
    this.kept = both;
  }

  /** The next whole frame, if there is one. Throws `FrameTooShort` or `FrameTooLong`, each time from then on. */
  next(): Frame | undefined {
    const kept = this.kept;
    if (kept.length < 2) return undefined;
    const bytes = kept[0]! | (kept[1]! << 8);
    if (bytes < HEADER_BYTES) throw new FrameTooShort(bytes);
    if (bytes > this.bytesMax) throw new FrameTooLong(bytes, this.bytesMax);
    if (kept.length < bytes) return undefined;
    this.kept = kept.subarray(bytes);
    return { id: kept[2]! | (kept[3]! << 8), body: kept.slice(HEADER_BYTES, bytes) };
  }
}

/** Cuts packets out of a stream of bytes. */
export class PacketReader {
  private readonly frames: FrameReader;

  /** Frames of more than `bytesMax` bytes are refused. */
  constructor(bytesMax: number = FRAME_BYTES_MAX) {
    this.frames = new FrameReader(bytesMax);
  }

  /** Takes what came. */
  push(chunk: Uint8Array): void {
    this.frames.push(chunk);
  }

  /**
   * The next packet, if there is a whole one. Throws as `FrameReader` and `decodePacket` do; after an unknown or malformed
   * packet the next call goes on behind it.
   */
  next(): Packet | undefined {
    const next = this.frames.next();
    return next && decodePacket(next.id, next.body);
  }
}

function whole<T>(id: number, packet: string, body: Uint8Array, decode: (body: Uint8Array) => T): T {
  try {
    return decode(body);
  } catch (error) {
    if (error instanceof Malformed) throw new MalformedPacket(id, packet, body.length, error.message);
    throw error;
  }
}

const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const ENCODER = new TextEncoder();
/** Messages in messages, at most: a peer cannot take the stack. */
const DEPTH_MAX = 100;

/** Writes a message as Protobuf does. A number that its type cannot hold is a `RangeError`. */
export class WireWriter {
  private bytes = new Uint8Array(64);
  private length = 0;

  /** What was written. */
  finish(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  key(key: number): this {
    return this.varint(BigInt(key));
  }

  double(value: number): this {
    return this.fixed(8, (view) => view.setFloat64(0, value, true));
  }

  float(value: number): this {
    return this.fixed(4, (view) => view.setFloat32(0, value, true));
  }

  int32(value: number): this {
    return this.varint(BigInt.asUintN(64, signed32(value)));
  }

  int64(value: bigint): this {
    return this.varint(BigInt.asUintN(64, signed64(value)));
  }

  uint32(value: number): this {
    return this.varint(unsigned32(value));
  }

  uint64(value: bigint): this {
    return this.varint(unsigned64(value));
  }

  sint32(value: number): this {
    return this.sint64(signed32(value));
  }

  sint64(value: bigint): this {
    return this.varint(BigInt.asUintN(64, (signed64(value) << 1n) ^ (value >> 63n)));
  }

  fixed32(value: number): this {
    return this.fixed(4, (view) => view.setUint32(0, Number(unsigned32(value)), true));
  }

  fixed64(value: bigint): this {
    return this.fixed(8, (view) => view.setBigUint64(0, unsigned64(value), true));
  }

  sfixed32(value: number): this {
    return this.fixed(4, (view) => view.setInt32(0, Number(signed32(value)), true));
  }

  sfixed64(value: bigint): this {
    return this.fixed(8, (view) => view.setBigInt64(0, signed64(value), true));
  }

  bool(value: boolean): this {
    return this.varint(value ? 1n : 0n);
  }

  string(value: string): this {
    return this.blob(ENCODER.encode(value));
  }

  blob(value: Uint8Array): this {
    this.varint(BigInt(value.length));
    this.room(value.length).set(value);
    return this;
  }

  /** Something with its length before it. */
  sub(write: (out: WireWriter) => void): this {
    const out = new WireWriter();
    write(out);
    return this.blob(out.finish());
  }

  private varint(value: bigint): this {
    let rest = value;
    for (; rest > 127n; rest >>= 7n) this.room(1)[0] = Number(rest & 127n) | 128;
    this.room(1)[0] = Number(rest);
    return this;
  }

  private fixed(bytes: number, put: (view: DataView) => void): this {
    const room = this.room(bytes);
    put(new DataView(room.buffer, room.byteOffset, bytes));
    return this;
  }

  private room(bytes: number): Uint8Array {
    const start = this.length;
    this.length += bytes;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      larger.set(this.bytes);
      this.bytes = larger;
    }
    return this.bytes.subarray(start, this.length);
  }
}

function within(value: number, min: number, max: number): bigint {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${value} is no whole number from ${min} to ${max}`);
  }
  return BigInt(value);
}

function signed32(value: number): bigint {
  return within(value, -2147483648, 2147483647);
}

function unsigned32(value: number): bigint {
  return within(value, 0, 4294967295);
}

function signed64(value: bigint): bigint {
  if (BigInt.asIntN(64, value) !== value) throw new RangeError(`${value} fits no int64`);
  return value;
}

function unsigned64(value: bigint): bigint {
  if (BigInt.asUintN(64, value) !== value) throw new RangeError(`${value} fits no uint64`);
  return value;
}

/** Reads what Protobuf writes. Throws `Malformed` for what it does not. */
export class WireReader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly depth: number;
  private at = 0;

  constructor(bytes: Uint8Array, depth = 0) {
    if (depth > DEPTH_MAX) throw new Malformed("messages in messages without end");
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.depth = depth;
  }

  /** A field's number and how it is written; 0 at the end. */
  key(): number {
    if (this.at === this.bytes.length) return 0;
    const key = this.uint64();
    if (key < 8n || key > 4294967295n) throw new Malformed("a field without a number");
    return Number(key);
  }

  /** Skips an unknown field. */
  skip(key: number, depth = 0): void {
    if (depth > DEPTH_MAX) throw new Malformed("groups in groups without end");
    switch (key & 7) {
      case 0:
        this.uint64();
        break;
      case 1:
        this.take(8);
        break;
      case 2:
        this.take(this.size());
        break;
      case 3:
        for (let inner = this.key(); ; inner = this.key()) {
          if (inner === 0) throw new Malformed("a group without an end");
          if (inner >>> 3 === key >>> 3 && (inner & 7) === 4) break;
          this.skip(inner, depth + 1);
        }
        break;
      case 5:
        this.take(4);
        break;
      default:
        throw new Malformed(`field ${key >>> 3} is written as nothing that there is`);
    }
  }

  double(): number {
    return this.view.getFloat64(this.take(8), true);
  }

  float(): number {
    return this.view.getFloat32(this.take(4), true);
  }

  int32(): number {
    return this.uint32() | 0;
  }

  int64(): bigint {
    return BigInt.asIntN(64, this.uint64());
  }

  uint32(): number {
    const first = this.bytes[this.at];
    if (first !== undefined && first < 128) return this.bytes[this.at++]!;
    return Number(BigInt.asUintN(32, this.uint64()));
  }

  uint64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.bytes[this.take(1)]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) {
        if (value >> 64n !== 0n) break;
        return value;
      }
    }
    throw new Malformed("a number of more than 64 bits");
  }

  sint32(): number {
    const value = this.uint32();
    return (value >>> 1) ^ -(value & 1);
  }

  sint64(): bigint {
    const value = this.uint64();
    return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n));
  }

  fixed32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  fixed64(): bigint {
    return this.view.getBigUint64(this.take(8), true);
  }

  sfixed32(): number {
    return this.view.getInt32(this.take(4), true);
  }

  sfixed64(): bigint {
    return this.view.getBigInt64(this.take(8), true);
  }

  bool(): boolean {
    return this.uint64() !== 0n;
  }

  string(): string {
    const text = this.span();
    try {
      return DECODER.decode(text);
    } catch {
      throw new Malformed("a text that is no UTF-8");
    }
  }

  blob(): Uint8Array {
    return this.span().slice();
  }

  /** A message with its length before it. */
  sub(): WireReader {
    return new WireReader(this.span(), this.depth + 1);
  }

  /** Several values with their length before them. */
  packed(one: () => void): void {
    const bytes = this.size();
    const end = this.at + bytes;
    if (end > this.bytes.length) throw new Malformed("the end is missing");
    while (this.at < end) one();
    if (this.at > end) throw new Malformed("a value that is cut");
  }

  private span(): Uint8Array {
    const bytes = this.size();
    const start = this.take(bytes);
    return this.bytes.subarray(start, start + bytes);
  }

  private size(): number {
    const bytes = this.uint64();
    if (bytes > BigInt(this.bytes.length)) throw new Malformed("the end is missing");
    return Number(bytes);
  }

  /** Where these many bytes begin. */
  private take(bytes: number): number {
    const start = this.at;
    if (start + bytes > this.bytes.length) throw new Malformed("the end is missing");
    this.at = start + bytes;
    return start;
  }
}

// A connection over WebSocket that is made again after a cut.

/** What a client needs of a WebSocket: that of browsers, Deno, Bun and Node has it, and so has the class of npm's `ws`. */
export interface NaksiSocket {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: any) => unknown) | null;
  onmessage: ((event: any) => unknown) | null;
  onclose: ((event: any) => unknown) | null;
  onerror: ((event: any) => unknown) | null;
  send(bytes: Uint8Array): void;
  close(code?: number, reason?: string): void;
}

/** The body of the packet of this name. */
export type NaksiBody<N extends Packet["name"], P = Packet> = P extends { name: N; body: infer B } ? B : never;

/** A kind of packet, like `Say`. */
export interface NaksiPacket<M> {
  create(some?: Partial<M>): M;
  frame(some?: Partial<M>): Uint8Array;
}

/** Where a client stands. */
export type NaksiState = "idle" | "connecting" | "open" | "waiting";

/** How a connection ended, or that it could not be made. */
export interface NaksiClosed {
  /** The code of WebSocket's close: 1000 in order, 1001 the server stops, 1006 cut or refused, 4000–4999 the application's own. */
  code: number;
  /** The name of the server's reason, like `idle`, or the application's own text; empty after a cut. */
  reason: string;
  /** What the server said about it, for people: of a refused version both versions. Empty if nothing. */
  text: string;
  /** Whether it was open before. */
  wasOpen: boolean;
  /** Milliseconds until it is made again; `undefined` if it is not. */
  retryIn: number | undefined;
}

/** How a client connects. */
export interface NaksiOptions {
  /** The class that connects; the global `WebSocket` by default. Node before 22 has none: hand in that of npm's `ws`. */
  socket?: new (url: string, protocols?: string[]) => any;
  /** Subprotocols to offer; a browser fails a connection whose server chooses none of them. None by default. */
  protocols?: string[];
  /**
   * Whether a connection that ended is made again. By default it is, unless it ended in order (1000), the server has another
   * packet table, or the application ended it with a code of its own (4000–4999).
   */
  reconnects?: boolean | ((closed: NaksiClosed) => boolean);
  /** Milliseconds before the first attempt to connect again; 500 by default. Each attempt that fails doubles them. */
  retryMs?: number;
  /** Milliseconds between two attempts, at most; 30,000 by default. */
  retryMsMax?: number;
  /** Milliseconds that a connection has to open; 10,000 by default. */
  openMsMax?: number;
  /** Bytes that may wait in the socket: with more, nothing is sent. 1 MiB by default. */
  sendBytesMax?: number;
  /** Bytes of a frame that is taken, at most. */
  frameBytesMax?: number;
  /**
   * Whether the client begins with HELLO, which compares the versions of the packet tables, keeps the connection alive and
   * tells why it ended. By default it does; a server older than HELLO, or not of Naksi, needs `false`.
   */
  hello?: boolean;
}

/**
 * Milliseconds before an attempt to connect, of which `failures` failed before: doubled with each, at most `most`, and by
 * chance between half of that and all of it, so that a thousand clients of one server do not come back at once.
 */
export function reconnectDelay(failures: number, first = 500, most = 30000, chance = Math.random()): number {
  const whole = Math.min(most, first * 2 ** Math.min(failures, 30));
  return whole / 2 + (whole / 2) * chance;
}

/** Ids of the engine's own messages. */
const HELLO_ID = 0xfff0;
const WELCOME_ID = 0xfff1;
const HEARTBEAT_ID = 0xfff2;
const CLOSE_ID = 0xfff3;

/** A connection that lasted so many milliseconds was a good one: after it, attempts begin again with the shortest delay. */
const GOOD_MS = 10000;

/**
 * A client: it connects, calls back for each packet by its name, and connects again after a cut.
 *
 *     const client = new NaksiClient("wss://play.example");
 *     client.on("Said", (said) => show(said.text));
 *     client.onOpen = () => client.send(Say, { text: "hello" });
 *     client.connect();
 */
export class NaksiClient {
  /**
   * The connection is open and the server has the same packet table, for the first time or again: what the server knew of
   * this client before is to be said anew. Packets that the server sends at once may come before.
   */
  onOpen: () => void = () => {};
  /** The connection ended, or could not be made. */
  onClose: (closed: NaksiClosed) => void = () => {};
  /** Something that came was wrong. After an unknown or malformed packet it goes on; a broken stream is closed with 4400. */
  onError: (error: NaksiError) => void = () => {};
  /** Each packet that no `on` takes. */
  onPacket: (packet: Packet) => void = () => {};

  private readonly url: string;
  private readonly options: NaksiOptions;
  private readonly handlers: { [name: string]: ((body: any) => void)[] | undefined } = Object.create(null);
  private socket: NaksiSocket | undefined;
  private reader = new FrameReader();
  private now: NaksiState = "idle";
  private failures = 0;
  private openedAt = 0;
  /** When the last bytes came. */
  private heardAt = 0;
  /** What the server said of the end. */
  private told: { name: string; code: number; text: string } | undefined;
  /** Ends the timer that runs: of an attempt, or until the next one. */
  private stopTimer = (): void => {};

  /** Connects to nothing yet. `url` is `ws://host:port` or `wss://…`. */
  constructor(url: string, options: NaksiOptions = {}) {
    this.url = url;
    this.options = options;
  }

  /** Where it stands: `waiting` is between two attempts. */
  get state(): NaksiState {
    return this.now;
  }

  /** Calls `run` for each packet of this name. Returns what ends that. */
  on<N extends Packet["name"]>(name: N, run: (body: NaksiBody<N>) => void): () => void {
    const before = this.handlers[name] ?? [];
    this.handlers[name] = [...before, run as any];
    return () => {
      this.handlers[name] = (this.handlers[name] ?? []).filter((other) => other !== run);
    };
  }

  /** Connects, or tries again at once; does nothing while it is connecting or open. Throws where there is no WebSocket. */
  connect(): void {
    if (this.now === "connecting" || this.now === "open") return;
    const kind: NaksiOptions["socket"] = this.options.socket ?? (globalThis as any).WebSocket;
    if (!kind) throw new NaksiError("there is no global WebSocket: hand in a class as `socket`, like that of npm's ws");
    this.stopTimer();
    const { protocols, openMsMax = 10000, frameBytesMax } = this.options;
    const socket: NaksiSocket = protocols ? new kind(this.url, protocols) : new kind(this.url);
    this.now = "connecting";
    this.socket = socket;
    this.reader = new FrameReader(frameBytesMax);
    this.told = undefined;
    socket.binaryType = "arraybuffer";
    // Whatever a socket says after another has taken its place is of no interest.
    socket.onopen = () => void (this.socket === socket && this.accepted(socket));
    socket.onmessage = (event) => void (this.socket === socket && this.came(socket, event.data));
    socket.onclose = (event) => void (this.socket === socket && this.closed(event.code, event.reason));
    // A close follows an error at once and says more; Node 20 has none where the connection was refused.
    socket.onerror = () => void later(0, () => this.leave(socket, 1006, ""));
    this.stopTimer = later(openMsMax, () => this.leave(socket, 1006, "not open in time"));
  }

  /**
   * Sends a packet, as `client.send(Say, { text: "hello" })`. Returns whether it was sent: not if the connection is not open,
   * or too much waits in its socket.
   */
  send<M>(packet: NaksiPacket<M>, some: Partial<M> = {}): boolean {
    return this.sendFrame(packet.frame(some));
  }

  /** Sends a whole frame. Returns whether it was. */
  sendFrame(frame: Uint8Array): boolean {
    const { socket, options } = this;
    if (this.now !== "open" || !socket) return false;
    if (socket.bufferedAmount + frame.length > (options.sendBytesMax ?? 1 << 20)) return false;
    socket.send(frame);
    return true;
  }

  /** Ends the connection in order, and all attempts to make one. `onClose` is called if there is a connection to end. */
  close(code = 1000, reason = ""): void {
    const { socket, now } = this;
    socket?.close(code, reason);
    this.forget();
    if (socket) this.onClose({ code, reason, text: "", wasOpen: now === "open", retryIn: undefined });
  }

  private accepted(socket: NaksiSocket): void {
    if (this.options.hello === false) return this.opened();
    const body = new Uint8Array(14);
    // "NKSI", the version of these messages, the version of the table.
    body.set([78, 75, 83, 73, 1, 0]);
    new DataView(body.buffer).setBigUint64(6, VERSION, true);
    socket.send(frame(HELLO_ID, body));
  }

  private opened(): void {
    this.stopTimer();
    this.stopTimer = () => {};
    this.now = "open";
    this.openedAt = performance.now();
    alone(() => this.onOpen());
  }

  /** A message of the engine. */
  private engine(socket: NaksiSocket, id: number, body: Uint8Array): void {
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    if (id === WELCOME_ID && this.now === "connecting" && body.length >= 14) {
      this.opened();
      if (this.socket === socket) this.beat(socket, view.getUint32(10, true) / 3);
    } else if (id === HEARTBEAT_ID && body[0] === 0) {
      socket.send(frame(HEARTBEAT_ID, Uint8Array.of(1)));
    } else if (id === CLOSE_ID && body.length >= 5) {
      const end = 5 + body[4]!;
      const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
      this.told = { code: view.getUint32(0, true), name: text(body.subarray(5, end)), text: text(body.subarray(end)) };
    }
  }

  /** Asks for a heartbeat each time so many milliseconds have passed; a server that says nothing for three of them is gone. */
  private beat(socket: NaksiSocket, every: number): void {
    if (!(every >= 1)) return;
    this.stopTimer = later(Math.min(every, 2 ** 31 - 1), () => {
      if (performance.now() - this.heardAt >= 3 * every) return this.leave(socket, 4408, "silent server");
      socket.send(frame(HEARTBEAT_ID, Uint8Array.of(0)));
      this.beat(socket, every);
    });
  }

  private came(socket: NaksiSocket, data: unknown): void {
    if (typeof data === "string") return this.broken(socket, new NaksiError("a text came where packets travel"));
    this.heardAt = performance.now();
    this.reader.push(new Uint8Array(data as any));
    // A callback may close the connection: then what came with the packet is of no interest either.
    while (this.socket === socket) {
      try {
        const next = this.reader.next();
        if (!next) return;
        if (next.id >= HELLO_ID && this.options.hello !== false) this.engine(socket, next.id, next.body);
        else this.show(decodePacket(next.id, next.body));
      } catch (error) {
        if (!(error instanceof NaksiError)) throw error;
        if (error instanceof FrameTooShort || error instanceof FrameTooLong) return this.broken(socket, error);
        const wrong: NaksiError = error;
        alone(() => this.onError(wrong));
      }
    }
  }

  private show(packet: Packet): void {
    const handlers = this.handlers[(packet as { name: string }).name] ?? [];
    if (handlers.length === 0) return alone(() => this.onPacket(packet));
    for (const run of handlers) alone(() => run((packet as { body: unknown }).body));
  }

  private broken(socket: NaksiSocket, error: NaksiError): void {
    alone(() => this.onError(error));
    this.leave(socket, 4400, "broken stream");
  }

  /** Gives a connection up, as if the other side had ended it. */
  private leave(socket: NaksiSocket, code: number, reason: string): void {
    if (this.socket !== socket) return;
    // A socket that has not opened can be closed without a code alone.
    if (this.now === "open") socket.close(code, reason);
    else socket.close();
    this.closed(code, reason);
  }

  private closed(code: number, reason: string): void {
    const wasOpen = this.now === "open";
    if (wasOpen && performance.now() - this.openedAt >= GOOD_MS) this.failures = 0;
    this.forget();
    const { reconnects = true, retryMs, retryMsMax } = this.options;
    const { name = reason, text = "" } = this.told ?? {};
    const closed: NaksiClosed = { code, reason: name === "custom" ? text : name, text, wasOpen, retryIn: undefined };
    const again = typeof reconnects === "function" ? reconnects(closed) : reconnects && comesBack(closed);
    if (again) {
      closed.retryIn = reconnectDelay(this.failures, retryMs, retryMsMax);
      this.failures++;
      this.now = "waiting";
      this.stopTimer = later(closed.retryIn, () => this.connect());
    }
    this.onClose(closed);
  }

  private forget(): void {
    this.stopTimer();
    this.stopTimer = () => {};
    this.socket = undefined;
    this.now = "idle";
  }
}

/** Whether a connection that ended like this is worth another attempt. */
function comesBack({ code, reason }: NaksiClosed): boolean {
  const isOver = code === 1000 || reason === "version_refused" || (code >= 4000 && code <= 4999 && code !== 4408);
  return !isOver;
}

/** Runs something later, unless what is returned is called before. */
function later(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

/** Runs a callback. What it throws is thrown where nothing else is lost by it: as an error that was not caught. */
function alone(run: () => void): void {
  try {
    run();
  } catch (error) {
    later(0, () => {
      throw error;
    });
  }
}
