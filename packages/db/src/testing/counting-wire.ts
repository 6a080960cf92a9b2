import { connect, createServer, type Socket } from "node:net";

/** A wire to a server that counts what comes back, can be cut with a reset, and can spoil what is sent. */
export interface Wire {
  readonly url: string;
  /** How often the server has said that it is ready for the next statement. */
  answers(): number;
  /** Cuts every connection, as a server that is shut down at once does to who is in its midst. */
  cut(): void;
  /** Cuts the next connection that sends something, after so many bytes of it; undefined: none. */
  cutAt(bytes: number | undefined): void;
  /** Replaces a text by one of the same length wherever it is sent; nothing without one. */
  spoil(text?: string, by?: string): void;
  close(): void;
}

export async function countingWire(server: string): Promise<Wire> {
  const { hostname, port } = new URL(server);
  const ends = new Set<Socket>();
  let answers = 0;
  let cutAt: number | undefined;
  let spoiled: readonly [string, string] | undefined;
  const proxy = createServer((near) => {
    const far = connect(Number(port), hostname);
    near.setNoDelay();
    far.setNoDelay();
    ends.add(near.on("close", () => far.destroy() && ends.delete(near)).on("error", () => {}));
    far.on("error", () => {}).on("close", () => near.destroy());
    near.on("data", (sent) => {
      if (cutAt !== undefined) {
        far.write(sent.subarray(0, cutAt));
        cutAt = undefined;
        near.resetAndDestroy();
        return;
      }
      far.write(spoiled === undefined ? sent : Buffer.from(sent.toString("latin1").replaceAll(...spoiled), "latin1"));
    });
    far.on("data", (answer) => {
      // ReadyForQuery: its type, its length, and the state of the transaction.
      answers += answer.toString("latin1").split("Z\0\0\0\x05").length - 1;
      near.write(answer);
    });
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const url = new URL(server);
  url.port = String((proxy.address() as { port: number }).port);
  return {
    url: String(url),
    answers: () => answers,
    cut: () => ends.forEach((end) => end.resetAndDestroy()),
    cutAt: (bytes) => (cutAt = bytes),
    spoil: (text, by) => (spoiled = text === undefined || by === undefined ? undefined : [text, by]),
    close: () => proxy.close(),
  };
}
