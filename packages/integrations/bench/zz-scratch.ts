import { migrate, openPostgres, run } from "@tributary/db";
import { startPrivatePostgres } from "@tributary/db/testing";
import { append, ensurePartitions, migrations as pipelineTables } from "@tributary/pipeline";
import { migrations } from "../src/index.ts";
import { commit } from "../src/zz-commit.ts";
import * as path from "./commit-path.ts";
const { batchesOf, connected, statements } = path as any;
const server = await startPrivatePostgres();
const database = openPostgres({ url: server.url });
await migrate(database, [pipelineTables, migrations]);
await ensurePartitions(database, new Date());
const t: Record<string, number> = {};
const timed = async (name: string, f: any) => {
  const s = performance.now();
  const r = await f();
  t[name] = (t[name] ?? 0) + performance.now() - s;
  return r;
};
const rt: any = { database, append: (tx: any, b: any) => timed("append", () => append(tx, b)), committed: () => {} };
(globalThis as any).timed = timed;
for (let round = 0; round < 4; round++) {
  for (const k in t) delete t[k];
  const lease = await connected(database),
    lease2 = await connected(database);
  for (const v of [1, 1, 2]) {
    for (const k in t) delete t[k];
    const batches = batchesOf(v);
    let turn = 0;
    for (const signals of batches) {
      await timed("all", () => commit(rt, { lease, signals, cursor: { a: turn }, backfill: false, traceparent: "" }));
      const w = statements(database, lease2)(signals, v * 100 + turn++);
      await timed("bare", w);
    }
    console.log(
      round,
      v,
      Object.entries(t)
        .map(([k, v]) => `${k} ${(v / 16).toFixed(2)}`)
        .join(" "),
    );
  }
}
await database.close();
await server.stop();
