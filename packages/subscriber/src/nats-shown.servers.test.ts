import { TaskCompletedSchema } from "@tributary/contracts";
import { nkeys } from "@nats-io/transport-node";
import { natsConfig } from "@tributary/pipeline/testing";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { subscribe, type SubscribeOptions, type Subscription } from "./index.ts";
import { type NatsStage, openNatsStage, until } from "./testing/nats-stage.ts";

let stage: NatsStage;
let subscription: Subscription | undefined;
afterEach(async () => {
  await subscription?.stop(0);
  subscription = undefined;
  await stage.stop();
});

const hub = { user: "tributary", pass: "only-for-the-hub" };
type Key = ReturnType<typeof nkeys.createUser>;
const [first, second, unknown] = [nkeys.createUser(), nkeys.createUser(), nkeys.createUser()];
const seed = (key: Key): string => new TextDecoder().decode(key.getSeed());
const knowing = (key: Key): string =>
  natsConfig([{ organizationId: "acme", consumers: ["billing"], nkey: key.getPublicKey() }]);

/** Ids of what came. */
async function listen(options: Partial<SubscribeOptions>): Promise<string[]> {
  const got: string[] = [];
  const log = { info: () => {}, warn: () => {} };
  const quick = { url: stage.nats.url, name: "billing", backoffMs: { first: 20, longest: 200 }, log };
  subscription = await subscribe({ ...quick, ...options })
    .on(TaskCompletedSchema, (_, { id }) => void got.push(id))
    .start();
  await stage.publish("c1", 1);
  await until("the first came", () => got.length === 1);
  return got;
}

/** A subscription whose first credentials the broker knows no more, and what it is given instead, ask by ask. */
async function changed(answer: (ask: number) => string | Promise<string>): Promise<string[]> {
  stage = await openNatsStage({ config: knowing(first), env: { TRIBUTARY_NATS_PASSWORD: hub.pass } }, hub);
  let asked = 0;
  const credentials = () => (asked++ === 0 ? seed(first) : answer(asked - 1));
  const got = await listen({ organization: "acme", credentials });
  await stage.nats.reload(knowing(second));
  return got;
}

describe("credentials that the broker knows no more", () => {
  it.each<[string, (ask: number) => string | Promise<string>]>([
    ["takes two seconds", () => sleep(2_000, seed(second))],
    ["gives them twice more", (ask) => seed(ask <= 2 ? first : second)],
    [
      "fails twice, at once and later",
      (ask) => {
        if (ask === 1) throw new Error("not yet");
        return ask === 2 ? Promise.reject(new Error("not yet")) : seed(second);
      },
    ],
  ])("are followed by others of a function that %s", async (_, answer) => {
    const got = await changed(answer);
    await stage.publish("c1", 1);
    await until("the next came as well", () => got.length === 2);
    expect(got).toEqual(["c1-1", "c1-2"]);
  });

  it.each([
    ["others that it does not know either", () => seed(unknown)],
    ["nothing but the same", () => seed(first)],
  ])("end the subscription of a function that gives %s", async (_, answer) => {
    await changed(answer);
    await expect(subscription?.done).rejects.toThrow("refused: the broker refuses the credentials");
  });

  it("are refused at the start, also of a function, which is asked once", async () => {
    stage = await openNatsStage({ config: knowing(first), env: { TRIBUTARY_NATS_PASSWORD: hub.pass } }, hub);
    let asked = 0;
    const credentials = () => (asked++, seed(unknown));
    await expect(listen({ organization: "acme", credentials })).rejects.toThrow(/^refused: the broker at .* refuses/);
    expect(asked).toBe(1);
  });

  it("end the subscription that has nobody to ask", async () => {
    stage = await openNatsStage({ config: knowing(first), env: { TRIBUTARY_NATS_PASSWORD: hub.pass } }, hub);
    await listen({ organization: "acme", credentials: seed(first) });
    await stage.nats.reload(knowing(second));
    await expect(subscription?.done).rejects.toThrow("refused: the broker refuses the credentials");
  });
});

describe("a token that names its end", () => {
  it("is asked for ahead of it also when it was given on the way back to the broker", async () => {
    stage = await openNatsStage();
    let asked = 0;
    const token = (): string => {
      const exp = Date.now() / 1_000 + (asked++ === 0 ? 0 : 3);
      return `e30.${Buffer.from(JSON.stringify({ exp })).toString("base64url")}.c2lnbmF0dXJl`;
    };
    const got = await listen({ token });
    await stage.nats.kill();
    await stage.nats.restart();
    await stage.publish("c1", 1);
    await until("it is back", () => got.length === 2);
    const before = asked;
    await until("it was asked for again", () => asked > before);
    expect(got).toEqual(["c1-1", "c1-2"]);
  });
});
