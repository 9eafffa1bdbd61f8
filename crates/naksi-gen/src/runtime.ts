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
