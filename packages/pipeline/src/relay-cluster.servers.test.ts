import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { EVENT_STREAM } from "@tributary/contracts";
import { freePort, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { applyStreams, inspectStreams } from "./stream-settings.ts";
import { type PrivateNats, startPrivateNats } from "./testing/private-nats.ts";
import { createRelayStage, type RelayStage, unpublished, until, upTo } from "./testing/relay-stage.ts";
import { openStreamSurgeon } from "./testing/stream-surgeon.ts";

let postgres: PrivatePostgres;
/** Its database and its notifications; its own broker is not used. */
let stage: RelayStage;
let servers: readonly PrivateNats[];
beforeAll(async () => {
  postgres = await startPrivatePostgres();
});
afterAll(() => postgres.stop());
beforeEach(async () => {
  const ports = await Promise.all([freePort(), freePort(), freePort()]);
  const routes = ports.map((port) => `nats-route://127.0.0.1:${port}`).join(", ");
  const config = (index: number): string => `
    server_name: server-${index}
    cluster { name: three, listen: "127.0.0.1:${ports[index]}", routes: [ ${routes} ] }`;
  [stage, servers] = await Promise.all([
    createRelayStage(postgres),
    Promise.all(ports.map((_, index) => startPrivateNats({ config: config(index) }))),
  ]);
  // As an operator writes them, with commas.
  await until("the cluster has a leader", async () => (await inspect().catch(() => undefined)) !== undefined);
});
afterEach(async () => {
  await stage.stop();
  await Promise.all(servers.map((one) => one.stop()));
});

const url = (): string => servers.map((one) => one.url).join(",");
const inspect = (replicas?: number) =>
  inspectStreams({ servers: url(), retentionDays: 30, ...(replicas === undefined ? {} : { replicas }) });

/** Asks whichever server answers. */
async function onCluster<T>(work: (jsm: Awaited<ReturnType<typeof jetstreamManager>>) => Promise<T>): Promise<T> {
  const nc = await connect({ servers: servers.map((one) => one.url) });
  try {
    return await work(await jetstreamManager(nc, { checkAPI: false }));
  } finally {
    await nc.close();
  }
}
async function stepDown(): Promise<boolean> {
  const nc = await connect({ servers: servers.map((one) => one.url) });
  try {
    const answer = await nc.request(`$JS.API.STREAM.LEADER.STEPDOWN.${EVENT_STREAM}`, "", { timeout: 5_000 });
    return answer.json<{ success?: boolean }>().success === true;
  } finally {
    await nc.close();
  }
}
const leader = (): Promise<string | undefined> =>
  onCluster(async (jsm) => (await jsm.streams.info(EVENT_STREAM)).cluster?.leader);

describe("a stream of three copies", () => {
  it("loses, repeats and reorders nothing when its leader steps down and dies in the middle of windows", async () => {
    const relay = stage.relay({ servers: url(), replicas: 3 });
    const connections: string[] = [randomUUID(), randomUUID(), randomUUID()];
    const totals = new Map(connections.map((id) => [id, 0]));
    const enough = new AbortController();
    const writing = (async () => {
      for (let turn = 0; !enough.signal.aborted; turn++) {
        const id = connections[turn % connections.length] ?? "";
        await stage.write(id, 200);
        totals.set(id, (totals.get(id) ?? 0) + 200);
        await sleep(40);
      }
    })();
    await until("it publishes", () => relay.status().published > 1_000);
    expect((await onCluster((jsm) => jsm.streams.info(EVENT_STREAM))).config.num_replicas).toBe(3);
    for (let turn = 0; turn < 3; turn++) {
      // Nobody answers while the three choose.
      await until("the leader steps down", () =>
        stepDown().then(
          (success) => success,
          () => false,
        ),
      );
      await sleep(700);
    }
    let led: PrivateNats | undefined;
    await until("one leads", async () => {
      led = servers[Number((await leader().catch(() => undefined))?.at(-1))];
      return led !== undefined;
    });
    await led?.kill();
    await sleep(2_500);
    await led?.restart();
    await sleep(1_000);
    enough.abort();
    await writing;
    await until("all is published", async () => (await unpublished(stage.database)) === 0);
    const all = new Map<string, number[]>();
    for (const { connectionId, sequence } of await openStreamSurgeon(servers[0]?.url ?? "").messages())
      all.set(connectionId, [...(all.get(connectionId) ?? []), sequence]);
    for (const [id, total] of totals) expect(all.get(id)).toEqual(upTo(total));
  });

  it("is recommended where there is a cluster, and made when it is asked for", async () => {
    const said: unknown[] = [];
    const relay = stage.relay({ servers: url(), log: { info: () => {}, warn: (fields) => said.push(fields) } });
    await until("it leads", () => relay.status().state === "leading");
    await until("it warns", () => said.some((one) => JSON.stringify(one).includes("one_replica_in_cluster")));
    expect((await inspect(3)).streams[0]?.differences).toEqual([
      { stream: EVENT_STREAM, setting: "num_replicas", is: "1", should: "3", changeable: true },
    ]);
    const { left } = await applyStreams({ servers: url(), retentionDays: 30, replicas: 3 });
    expect(left).toEqual([]);
    const { streams, warnings } = await inspect(3);
    expect(streams.map(({ holds, differences }) => [holds?.replicas, differences])).toEqual(
      Array.from({ length: 3 }, () => [3, []]),
    );
    expect(warnings).not.toContain("one_replica_in_cluster");
  });
});
