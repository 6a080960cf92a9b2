import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openWire, type Wire } from "../crash/wire.ts";

let server: Server;
let wire: Wire;
/** What the server heard, connection by connection, and how each ended. */
let heard: { text: string; end: string }[];
const sockets: Socket[] = [];

beforeEach(async () => {
  heard = [];
  server = createServer((socket) => {
    const one = { text: "", end: "" };
    heard.push(one);
    socket.on("data", (bytes) => {
      one.text += bytes.toString();
      socket.write(`<${bytes.toString()}>`);
    });
    socket.on("end", () => (one.end = "end"));
    socket.on("error", () => (one.end = "reset"));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  wire = await openWire((server.address() as { port: number }).port);
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await wire.close();
  await new Promise((resolve) => server.close(resolve));
});

/** Dials, and notes what it is told and how that ended. */
async function dial() {
  const socket = connect(wire.port, "127.0.0.1");
  sockets.push(socket);
  const told = { text: "", end: "", say: (text: string) => socket.write(text) };
  socket.on("data", (bytes) => (told.text += bytes.toString()));
  socket.on("end", () => (told.end = "end"));
  socket.on("error", () => (told.end = "reset"));
  await once(socket, "connect");
  told.say("hello");
  await until(() => told.text === "<hello>");
  return told;
}

async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 30_000; !condition() && performance.now() < end;) await sleep(10);
  expect(condition()).toBe(true);
}

describe("a wire of the crash harness", () => {
  it("ends connections with RST or with FIN, at both ends", async () => {
    const one = await dial();
    expect(wire.cut("reset")).toBe(1);
    await until(() => one.end === "reset" && heard[0]?.end === "reset");
    const other = await dial();
    expect(wire.cut("end")).toBe(1);
    await until(() => other.end === "end" && heard[1]?.end === "end");
  });

  it("holds what goes one way, and lets it come late or never", async () => {
    const one = await dial();
    const arrive = wire.stall(["back"]);
    one.say(" late");
    await until(() => heard[0]?.text === "hello late");
    await sleep(50);
    expect(one.text).toBe("<hello>");
    arrive("late");
    await until(() => one.text === "<hello>< late>");
    const lose = wire.stall(["there"]);
    one.say(" never");
    await sleep(50);
    lose("lost");
    await until(() => one.end === "reset");
    expect(heard[0]?.text).toBe("hello late");
  });

  it("resets one end, and tells the other later what was said before, and that it ended", async () => {
    const one = await dial();
    const reset = wire.strand();
    one.say(" late");
    // What was said before has come to the wire when another was answered by way of it.
    await dial();
    const arrive = reset();
    await until(() => one.end === "reset");
    await dial();
    expect(heard[0]).toEqual({ text: "hello", end: "" });
    arrive();
    await until(() => heard[0]?.text === "hello late" && heard[0].end === "end");
  });

  it("lets half of a message through, and takes its time", async () => {
    const one = await dial();
    wire.slow(150);
    const saidAt = performance.now();
    one.say("1234");
    await until(() => one.text === "<hello><1234>");
    expect(performance.now() - saidAt).toBeGreaterThan(290);
    wire.slow(0);
    const tearing = wire.tear("there", 30_000, /abcd/);
    one.say("abcd");
    expect(await tearing).toBe(true);
    await until(() => one.end === "reset" && heard[0]?.text === "hello1234ab");
    expect(await wire.tear("back", 50)).toBe(false);
  });

  it("refuses all but those that have said a thing", async () => {
    const one = await dial();
    const takeAll = wire.refuseBut(/nobody said this/);
    await until(() => one.end === "reset");
    const refused = connect(wire.port, "127.0.0.1");
    refused.on("error", () => {});
    refused.write("again");
    await new Promise((resolve) => refused.once("close", resolve));
    takeAll();
    expect(heard.filter(({ text }) => text === "again")).toEqual([]);
    await dial();
  });
});
