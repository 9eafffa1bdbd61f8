
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
