import { once } from "node:events";
import { connect, createServer, type Server, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTripwire, watchSockets } from "../crash/watch.ts";

let server: Server;
let socket: Socket;
let heard = "";
const { write, emit } = Socket.prototype;

beforeEach(async () => {
  heard = "";
  server = createServer((far) => far.on("data", (bytes) => (heard += bytes.toString())));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
});
afterEach(async () => {
  Object.assign(Socket.prototype, { write, emit });
  socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

describe("a watched socket", () => {
  it("says nothing between the halves of what it is to end in, however much is said at once", async () => {
    const tripwire = createTripwire({ point: "relay.publish", moment: "half", turn: 1_000, act: "kill" });
    watchSockets({ to: new Set([socket.remotePort ?? 0]), on: new Set() }, new Set(["relay"]), tripwire);
    const said = ["HPUB evt.v1.a one\r\n", "PING\r\n", "HPUB evt.v1.b two\r\n", "HPUB evt.v1.c three\r\n", "PONG\r\n"];
    const written = said.map((text) => new Promise((resolve) => socket.write(text, resolve)));
    await Promise.all(written);
    for (let turn = 0; turn < 3_000 && heard.length < said.join("").length; turn++) await sleep(10);
    expect(heard).toBe(said.join(""));
    expect(tripwire.reached["relay.publish/half"]).toBe(3);
  });
});
