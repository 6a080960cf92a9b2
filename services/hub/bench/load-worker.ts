import { createHmac, randomUUID } from "node:crypto";
import { connect } from "node:net";
import { parentPort, workerData } from "node:worker_threads";

/**
 * Sends signed deliveries over kept-alive connections from a thread of its own, one at a time on each. Requests are made
 * before the clock runs. Answers with how long all of them took.
 */
export interface Load {
  readonly port: number;
  readonly path: string;
  readonly secret: string;
  readonly accounts: number;
  readonly requests: number;
  readonly sockets: number;
}

const load = workerData as Load;
const queue = Array.from({ length: load.requests }, (_, index) => request(load, index));
await Promise.all(Array.from({ length: load.sockets }, open)).then(async (sockets) => {
  const start = performance.now();
  await Promise.all(sockets.map(drain));
  parentPort?.postMessage(performance.now() - start, []);
  for (const socket of sockets) socket.destroy();
});

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
function drain(socket: Awaited<ReturnType<typeof open>>): Promise<void> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const next = (): void => {
      const text = queue.pop();
      if (text === undefined) resolve();
      else socket.write(text);
    };
    socket.once("error", reject).once("close", () => reject(new Error("the server closed a connection")));
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
      if (!answer.endsWith("\r\n\r\n")) return;
      if (!answer.startsWith("HTTP/1.1 200 ")) reject(new Error(answer.split("\r\n", 1)[0]));
      answer = "";
      next();
    });
    next();
  });
}
