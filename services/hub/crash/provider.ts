import { createServer } from "node:http";

/** The provider of the harness: every account has had so many changes, numbered from 1. It outlives every crash. */
export interface Provider {
  readonly url: string;
  /** Changes so far, by account. */
  readonly changes: ReadonlyMap<string, number>;
  add(account: string, count: number): void;
  total(): number;
  stop(): Promise<void>;
}

export async function startProvider(accounts: readonly string[]): Promise<Provider> {
  const changes = new Map(accounts.map((account) => [account, 0]));
  const server = createServer((request, response) => {
    const last = changes.get(request.url?.slice(1) ?? "");
    response.writeHead(last === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify({ last }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    changes,
    add: (account, count) => void changes.set(account, (changes.get(account) ?? 0) + count),
    total: () => [...changes.values()].reduce((sum, count) => sum + count, 0),
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
