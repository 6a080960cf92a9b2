import { createServer } from "node:net";

/**
 * Below what the system gives to sockets that name no port (Linux: 32768 and up): there, somebody's connection may take a
 * port between the look and the listening, or while a server restarts.
 */
const FIRST_PORT = 16_000;
const PORTS_EACH = 2_000;
/** Processes of tests that run side by side take from ranges of their own: each looks, and listens only later. */
const RANGES = 8;

const given = new Set<number>();

/**
 * The first of so many neighbouring ports on loopback that are all free, and that this process gives to nobody else.
 * @throws Error when there is no such block.
 */
export async function freePorts(count: number): Promise<number> {
  const first = FIRST_PORT + (Number(process.env["VITEST_POOL_ID"] ?? 0) % RANGES) * PORTS_EACH;
  for (let attempt = 0; attempt < 200; attempt++) {
    const start = first + Math.floor(Math.random() * (PORTS_EACH - count));
    const block = Array.from({ length: count }, (_, index) => start + index);
    if (block.some((port) => given.has(port))) continue;
    for (const port of block) given.add(port);
    if ((await Promise.all(block.map(isFree))).every(Boolean)) return start;
  }
  throw new Error(`no ${count} neighbouring ports are free from ${first} on`);
}

/** @throws Error when there is none. */
export const freePort = (): Promise<number> => freePorts(1);

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
