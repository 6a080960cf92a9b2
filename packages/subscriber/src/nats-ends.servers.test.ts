import { DEAD_LETTER_STREAM, TaskCompletedSchema } from "@tributary/contracts";
import { nkeys } from "@nats-io/transport-node";
import { freePort } from "@tributary/db/testing";
import { natsConfig, passwordVariable } from "@tributary/pipeline/testing";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { drop, type EventContext, subscribe, type SubscribeOptions, type Subscription } from "./index.ts";
import { type NatsStage, openNatsStage, until } from "./testing/nats-stage.ts";

let stage: NatsStage | undefined;
const running: Subscription[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop(0)));
  await stage?.stop();
  stage = undefined;
});

const SILENT = { info: () => {}, warn: () => {} };

async function listen(
  handle: (context: EventContext) => Promise<void> | void,
  options: Partial<SubscribeOptions> = {},
) {
  const quick = { name: "billing", ackWaitMs: 1_000, backoffMs: { first: 20, longest: 200 }, log: SILENT };
  const subscription = await subscribe({ ...quick, url: stage?.nats.url ?? "", ...options })
    .on(TaskCompletedSchema, (_, context) => handle(context))
    .start();
  running.push(subscription);
  return subscription;
}

describe("a subscription over NATS that ends", () => {
  it("keeps the broker from giving away what still runs, for longer than its ack wait", async () => {
    stage = await openNatsStage();
    const begun = Promise.withResolvers<void>();
    const first = await listen(async () => {
      begun.resolve();
      await sleep(2_500);
    });
    await stage.publish("c1", 1);
    await begun.promise;
    const others: string[] = [];
    const stopping = first.stop();
    await listen(({ id }) => void others.push(id));
    await stopping;
    await stage.settled();
    expect([first.stats().handled, others]).toEqual([1, []]);
  });

  it("ends although the broker is away, and leaves no connection that goes on trying", async () => {
    const monitor = `127.0.0.1:${await freePort()}`;
    stage = await openNatsStage({ config: `http: "${monitor}"` });
    const subscription = await listen(() => {});
    await stage.nats.kill();
    await sleep(50);
    const since = performance.now();
    await subscription.stop(500);
    // An end that waits for the broker would never come.
    expect(performance.now() - since).toBeLessThan(20_000);
    // Whoever still tried would be there a moment after the broker is back.
    await stage.nats.restart();
    const connected = async () =>
      ((await (await fetch(`http://${monitor}/connz`)).json()) as { num_connections: number }).num_connections;
    await until("the test's own connection is back", async () => (await connected()) > 0);
    await sleep(1_000);
    expect(await connected()).toBe(1);
  });
});

describe("an event that is nearly too large", () => {
  it("becomes a dead letter all the same, and holds nobody up", async () => {
    stage = await openNatsStage({ maxPayloadBytes: 1_500 });
    const got: bigint[] = [];
    await listen(({ sequence }) => {
      if (sequence === 1n) throw drop("ż".repeat(500));
      got.push(sequence);
    });
    await stage.publish("c1", 2);
    await until("the second is handled", () => got.length === 1);
    const { jsm } = stage;
    const letter = await jsm.streams.getMessage(DEAD_LETTER_STREAM, { last_by_subj: "dlq.v1._billing.acme" });
    expect(letter?.header.get("ce-id")).toBe("c1-1");
    expect(decodeURIComponent(letter?.header.get("trib-dead-letter-reason") ?? "")).toMatch(/^ż+$/);
  });
});

describe("the way to the broker", () => {
  it("may name several servers of one cluster, of which one answers", async () => {
    stage = await openNatsStage();
    const got: string[] = [];
    await listen(({ id }) => void got.push(id), { url: `nats://127.0.0.1:1,${stage.nats.url.slice(7)}` });
    await stage.publish("c1", 1);
    await until("it came", () => got.length === 1);
    expect(got).toEqual(["c1-1"]);
  });

  it("is not taken for one when it leads to a web server, and says where it led", async () => {
    const web = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => web.once("listening", resolve));
    const at = `127.0.0.1:${(web.address() as AddressInfo).port}`;
    await expect(listen(() => {}, { url: `nats://${at}` })).rejects.toThrow(`unreachable: no broker answers at ${at}`);
    web.closeAllConnections();
    web.close();
  });
});

describe("what a broker with permissions says", () => {
  const hub = { user: "tributary", pass: "only-for-the-hub" };
  const user = nkeys.createUser();
  const seed = new TextDecoder().decode(user.getSeed());
  const opened = async () =>
    openNatsStage(
      {
        config: natsConfig([
          { organizationId: "acme", consumers: ["billing"], nkey: user.getPublicKey() },
          { organizationId: "globex", consumers: ["audit"] },
        ]),
        env: { TRIBUTARY_NATS_PASSWORD: hub.pass, [passwordVariable("globex")]: "only-for-globex" },
      },
      hub,
    );

  it("lets in who signs by an nkey", async () => {
    stage = await opened();
    const got: string[] = [];
    await listen(({ id }) => void got.push(id), { credentials: seed, organization: "acme" });
    await stage.publish("c1", 1);
    await until("it came", () => got.length === 1);
    expect(got).toEqual(["c1-1"]);
  });

  it("lets in who signs by another nkey, once it knows the first no more: the function is asked again", async () => {
    const keys = [nkeys.createUser(), nkeys.createUser()] as const;
    const config = (key: (typeof keys)[number]) =>
      natsConfig([{ organizationId: "acme", consumers: ["billing"], nkey: key.getPublicKey() }]);
    stage = await openNatsStage({ config: config(keys[0]), env: { TRIBUTARY_NATS_PASSWORD: hub.pass } }, hub);
    let [key] = keys as readonly (typeof keys)[number][];
    const got: string[] = [];
    const credentials = () => Promise.resolve(new TextDecoder().decode(key?.getSeed()));
    const subscription = await listen(({ id }) => void got.push(id), { credentials, organization: "acme" });
    await stage.publish("c1", 1);
    await until("it came", () => got.length === 1);
    key = keys[1];
    await stage.nats.reload(config(keys[1]));
    await stage.publish("c1", 1);
    await until("the next came as well", () => got.length === 2);
    expect([got, subscription.stats().repeated]).toEqual([["c1-1", "c1-2"], 0]);
  });

  it("is said at the start: another's password, a consumer that is not permitted, an organisation left out", async () => {
    stage = await opened();
    const { url } = stage.nats;
    const as = (who: string) => url.replace("//", `//${who}@`);
    const wrong = { url: as("globex:wrong"), organization: "globex", name: "audit" };
    await expect(listen(() => {}, wrong)).rejects.toThrow(/^refused: the broker at .* refuses the credentials/);
    const other = { url: as("globex:only-for-globex"), organization: "globex", name: "billing" };
    await expect(listen(() => {}, other)).rejects.toThrow(/^refused: .*no consumer globex_billing/);
    const nobodys = { url: as("globex:only-for-globex"), name: "audit" };
    await expect(listen(() => {}, nobodys)).rejects.toThrow(/^refused: .*no consumer _audit/);
  });
});
