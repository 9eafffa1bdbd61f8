// What the compiler lets through and what it refuses; it is compiled, never run.
import { NaksiClient, Ping, Say } from "./kinds.js";

const client = new NaksiClient("ws://127.0.0.1:7777", { socket: WebSocket, reconnects: (closed) => closed.wasOpen });
const stop: () => void = client.on("Say", (say) => client.send(Say, { text: say.text.trim() }));
client.onPacket = (packet) => {
  if (packet.name === "Holds") packet.body.path.map((place) => place.x);
};
client.onClose = ({ code, reason, retryIn }) => [code.toFixed(), reason.trim(), retryIn?.toFixed()];
export const sent: boolean[] = [client.send(Ping), client.send(Say, { to: 1 }), client.sendFrame(Ping.frame())];
stop();

// @ts-expect-error no packet has this name
client.on("Sya", () => {});
// @ts-expect-error a packet has no such field
client.on("Say", (say) => say.txt);
// @ts-expect-error nor can it be sent with one
client.send(Say, { txt: "hello" });
// @ts-expect-error nor with another type
client.send(Say, { text: 5 });
