import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface Served {
  readonly origin: string;
  close(): Promise<void>;
}

/** Serves a fetch handler on a free loopback port. */
export async function serve(handler: (request: Request) => Response | Promise<Response>): Promise<Served> {
  let origin = "";
  const server = createServer(async (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const headers = new Headers(Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]));
    const { method = "GET" } = incoming;
    const body = chunks.length > 0 ? { body: Buffer.concat(chunks) } : {};
    const response = await handler(new Request(new URL(incoming.url ?? "/", origin), { method, headers, ...body }));
    outgoing.statusCode = response.status;
    for (const [name, value] of response.headers) if (name !== "set-cookie") outgoing.setHeader(name, value);
    outgoing.setHeader("set-cookie", response.headers.getSetCookie());
    outgoing.end(Buffer.from(await response.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    origin,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
