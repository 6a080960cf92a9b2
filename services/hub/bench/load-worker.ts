import { createHmac, randomUUID } from "node:crypto";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";

/**
 * Sends signed deliveries over kept-alive connections from a thread of its own, one at a time on each. Requests are made
 * before the clock runs.
 */
export interface Load {
  readonly port: number;
  readonly path: string;
  readonly secret: string;
  readonly accounts: number;
  readonly requests: number;
  readonly sockets: number;
  /** How many are due each second; absent: each connection's next is due when it is free. */
  readonly perSecond?: number;
}

/** How long all of them took, and all but a hundredth, from when each was due. */
export interface Loaded {
  readonly ms: number;
  readonly p99Ms: number;
}

const load = workerData as Load;
const texts = Array.from({ length: load.requests }, (_, index) => request(load, index));
const sockets = await Promise.all(Array.from({ length: load.sockets }, open));
const took: number[] = [];
const start = performance.now();
let next = 0;
await Promise.all(sockets.map(drain));
const sorted = took.toSorted((a, b) => a - b);
const loaded: Loaded = {
  ms: performance.now() - start,
  p99Ms: sorted[Math.ceil(sorted.length * 0.99) - 1] ?? Number.NaN,
};
parentPort?.postMessage(loaded, []);
for (const socket of sockets) socket.destroy();

function request({ path, secret, accounts }: Load, index: number): string {
  const body = JSON.stringify({
    event_name: "item:updated",
    user_id: `a${(index % accounts) + 1}`,
    event_data: { id: `6X7rM8997g${index}`, content: `Water the plants, number ${index}` },
    version: "1",
  });
  const signature = createHmac("sha256", secret).update(body).digest("base64");
  return [
    `POST ${path} HTTP/1.1`,
    "host: 127.0.0.1",
    "content-type: application/json",
    `x-todoist-delivery-id: ${randomUUID()}`,
    `x-todoist-hmac-sha256: ${signature}`,
    `content-length: ${Buffer.byteLength(body)}`,
    "",
    body,
  ].join("\r\n");
}

async function open() {
  const socket = connect(load.port, "127.0.0.1");
  socket.setNoDelay(true);
  await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  return socket;
}

/** An answer without a body ends with its headers; ours have none. */
async function drain(socket: Awaited<ReturnType<typeof open>>): Promise<void> {
  let answer = "";
  let done = (): void => {};
  const failed = new Promise<never>((_, reject) => {
    socket.once("error", reject).once("close", () => reject(new Error("the server closed a connection")));
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
      if (!answer.endsWith("\r\n\r\n")) return;
      if (!answer.startsWith("HTTP/1.1 200 ")) reject(new Error(answer.split("\r\n", 1)[0]));
      answer = "";
      done();
    });
  });
  failed.catch(() => {});
  for (let index = next++; index < texts.length; index = next++) {
    const now = performance.now();
    const due = load.perSecond === undefined ? now : start + (index / load.perSecond) * 1000;
    if (due > now) await sleep(due - now);
    const answered = new Promise<void>((resolve) => (done = resolve));
    socket.write(texts[index] ?? "");
    await Promise.race([answered, failed]);
    took.push(performance.now() - due);
  }
}
