import { DiscardPolicy, RetentionPolicy } from "@nats-io/jetstream";
import { EVENT_STREAM, EVENT_SUBJECTS } from "@tributary/contracts";
import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { connect as dial, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createRelayStage, leadLeftMs, type RelayStage, until, upTo } from "./testing/relay-stage.ts";

let postgres: PrivatePostgres;
beforeAll(async () => {
  postgres = await startPrivatePostgres();
});
afterAll(() => postgres.stop());

let stage: RelayStage;
const lines: Line[] = [];
beforeEach(async () => {
  stage = await createRelayStage(postgres, { config: users("right") });
});
afterEach(async () => {
  await stage.stop();
  for (const one of lines.splice(0)) await one.close();
});

/** Lines of nats-server's configuration: the relay's user, and one who may do everything, for the test itself. */
const users = (password: string, denied = ""): string => `
  no_auth_user: test
  authorization { users = [
    { user: test, password: test }
    { user: relay, password: ${password}${denied === "" ? "" : `, permissions: { ${denied} }`} }
    { user: other, password: other }
  ] }`;
const as = (user: string, password = user): string => stage.nats.url.replace("nats://", `nats://${user}:${password}@`);

interface Line {
  readonly url: string;
  cut(): void;
  mend(): void;
  close(): Promise<void>;
}

/** A way to the broker that can be cut while the broker lives. */
async function openLine(port: number): Promise<Line> {
  let whole = true;
  const sockets = new Set<Socket>();
  const server: Server = createServer((near) => {
    if (!whole) return near.destroy();
    const far = dial(port, "127.0.0.1");
    for (const [one, another] of [[near, far] as const, [far, near] as const]) {
      sockets.add(one);
      one.pipe(another);
      one.on("error", () => another.destroy()).on("close", () => another.destroy());
    }
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port: own } = server.address() as { port: number };
  const made: Line = {
    url: `nats://127.0.0.1:${own}`,
    cut: () => {
      whole = false;
      for (const socket of sockets) socket.destroy();
    },
    mend: () => {
      whole = true;
    },
    close: () => {
      made.cut();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  lines.push(made);
  return made;
}

describe("a relay that the broker refuses", () => {
  it("says so from the start, and goes on when it is let in", async () => {
    const relay = stage.relay({ servers: as("relay", "wrong") });
    await until("it says why", () => relay.status().reason === "authorization_refused");
    expect(relay.status().state).toBe("waiting");
    const connectionId = randomUUID();
    await stage.write(connectionId, 10);
    await stage.nats.reload(users("wrong"));
    await stage.drained();
    expect((await stage.streamed()).get(connectionId)).toEqual(upTo(10));
    expect(relay.status()).toMatchObject({ state: "leading", published: 10 });
    expect(relay.status().reason).toBeUndefined();
  });

  it("goes on after its password was another for a while, however often it was refused", async () => {
    const connectionId = randomUUID();
    const relay = stage.relay({ servers: as("relay", "right") });
    await stage.write(connectionId, 10);
    await stage.drained();
    await stage.nats.reload(users("another"));
    await until("it says why", () => relay.status().reason === "authorization_refused");
    await stage.write(connectionId, 10);
    // The client would close the connection at the second refusal, for good.
    await sleep(1_500);
    await stage.nats.reload(users("right"));
    await stage.drained();
    expect((await stage.streamed()).get(connectionId)).toEqual(upTo(20));
  });

  it.each([
    ["publish", 'publish: { deny: "evt.>" }'],
    ["subscription", 'subscribe: { deny: "_INBOX.>" }'],
  ])("names a right that was taken from it, %s, and goes on when it has it back", async (right, denied) => {
    const connectionId = randomUUID();
    const relay = stage.relay({ servers: as("relay", "right") });
    await stage.write(connectionId, 10);
    await stage.drained();
    await stage.nats.reload(users("right", denied));
    await stage.write(connectionId, 10);
    await until("it says why", () => relay.status().reason === `permission_refused_${right}`);
    expect(relay.status()).toMatchObject({ state: "waiting", held: 0 });
    await stage.nats.reload(users("right"));
    await stage.drained();
    expect((await stage.streamed()).get(connectionId)).toEqual(upTo(20));
  });
});

describe("a leader that fares worse than another would", () => {
  it("loses the lead within five seconds of its line, and stands by when it is back", async () => {
    const connectionId = randomUUID();
    const weak = await openLine(stage.nats.port);
    const first = stage.relay({ servers: weak.url });
    await until("it leads", () => first.status().state === "leading");
    const second = stage.relay();
    await until("the other stands by", () => second.status().state === "standby");
    // So long, and no longer, does it lead in spite of everything; whoever stands by looks every 375 ms.
    expect(await leadLeftMs(stage.database)).toBeLessThanOrEqual(3_000);
    weak.cut();
    const since = performance.now();
    await stage.write(connectionId, 50);
    await stage.drained();
    expect(performance.now() - since).toBeLessThan(20_000);
    expect(first.status()).toMatchObject({ state: "waiting", reason: "no_connection", published: 0 });
    weak.mend();
    await until("the first stands by", () => first.status().state === "standby");
    expect((await stage.streamed()).get(connectionId)).toEqual(upTo(50));
  });

  it("lets it lead when it lacks a right", async () => {
    const connectionId = randomUUID();
    const first = stage.relay({ servers: as("relay", "right") });
    await until("it leads", () => first.status().state === "leading");
    const second = stage.relay({ servers: as("other") });
    await until("the other stands by", () => second.status().state === "standby");
    await stage.nats.reload(users("right", 'publish: { deny: "evt.>" }'));
    await stage.write(connectionId, 50);
    await stage.drained();
    expect(second.status()).toMatchObject({ state: "leading", published: 50 });
    expect((await stage.streamed()).get(connectionId)).toEqual(upTo(50));
  });
});

const stream = { name: EVENT_STREAM, subjects: [...EVENT_SUBJECTS] };

describe("a stream that takes nothing more", () => {
  it("makes the relay wait, holds and parks nobody, and gets everything in order when it has room", async () => {
    const full = { ...stream, discard: DiscardPolicy.New, max_bytes: 20_000 };
    await stage.onBroker((jsm) => jsm.streams.add(full));
    const connections = [randomUUID(), randomUUID(), randomUUID()];
    const relay = stage.relay();
    for (const id of connections) await stage.write(id, 60);
    await until("it says why", () => relay.status().reason === "stream_full");
    expect(relay.status()).toMatchObject({ state: "waiting", held: 0 });
    await stage.onBroker((jsm) => jsm.streams.update(EVENT_STREAM, { ...full, max_bytes: -1 }));
    await stage.drained();
    const all = await stage.streamed();
    for (const id of connections) expect(all.get(id)).toEqual(upTo(60));
  });

  it("is named when it is sealed", async () => {
    await stage.onBroker(async (jsm) => {
      await jsm.streams.add(stream);
      // The client's types know of sealing, and its parameters do not.
      const sealed = { sealed: true } as object;
      await jsm.streams.update(EVENT_STREAM, sealed);
    });
    const relay = stage.relay();
    await stage.write(randomUUID(), 5);
    await until("it says why", () => relay.status().reason === "stream_sealed");
    expect(relay.status().held).toBe(0);
  });
});

describe("a stream that takes messages out when they were read", () => {
  it("is not filled again with what it gave away", async () => {
    await stage.onBroker(async (jsm) => {
      await jsm.streams.add({ ...stream, retention: RetentionPolicy.Interest });
    });
    const said: unknown[] = [];
    const relay = stage.relay({ log: { info: () => {}, warn: (fields) => said.push(fields) } });
    await stage.write(randomUUID(), 100);
    await stage.drained();
    // Nobody hears, so nothing is kept; an idle leader looks every five seconds.
    await sleep(6_500);
    expect(relay.status()).toMatchObject({ published: 100, repairs: { purged: 0 } });
    expect(said).toContainEqual(expect.objectContaining({ setting: "retention", is: "interest" }));
  });
});
