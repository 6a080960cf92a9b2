import { Code } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { createProof, endOf } from "./shown.ts";
import { completed, gone, Outcome, TOKEN } from "./testing/fake-hub.ts";
import { until, useHubStage } from "./testing/hub-stage.ts";

const stage = useHubStage();
const { listen } = stage;

/** As its reader sees one: nobody here looks at the signature. */
const webToken = (endsInMs: number): string =>
  `e30.${Buffer.from(JSON.stringify({ exp: (Date.now() + endsInMs) / 1_000 })).toString("base64url")}.c2lnbmF0dXJl`;

describe("a token that a function gives", () => {
  it("is asked for again when the hub knows the last one no more; no event is lost, none is handled twice", async () => {
    const asked: string[] = [];
    const held = Promise.withResolvers<void>();
    const done: bigint[] = [];
    const token = () => {
      asked.push(`token-${asked.length + 1}`);
      return Promise.resolve(asked.at(-1) ?? "");
    };
    stage.hub.knows("token-1");
    const subscription = await listen(
      async ({ sequence }) => {
        if (sequence === 1n) await held.promise;
        done.push(sequence);
      },
      { token },
    );
    stage.hub.publish(completed("c1", 1), completed("c1", 2));
    await until("the first stream runs", () => stage.hub.shown.length === 1);
    stage.hub.knows("token-2");
    await until("another stream runs", () => stage.hub.shown.length === 2);
    held.resolve();
    await until("both are settled", () => stage.hub.acks.length === 2);
    expect([done, subscription.stats().handled]).toEqual([[1n, 2n], 2]);
    expect(stage.hub.shown).toEqual(["token-1", "token-2"]);
  });

  it("is asked for again by an outcome that the hub does not let in", async () => {
    let asked = 0;
    await listen(() => {}, { token: () => (asked++, TOKEN) });
    stage.hub.failAcks(1, Code.Unauthenticated);
    stage.hub.publish(completed("c1", 1));
    await until("it is settled", () => stage.hub.acks.length === 1);
    expect([asked, stage.hub.shown.length]).toEqual([2, 1]);
  });

  it("ends the subscription at once when the hub does not know the next one either", async () => {
    let asked = 0;
    stage.hub.knows("token-1");
    const subscription = await listen(() => {}, { token: () => `token-${++asked}` });
    await until("it runs", () => stage.hub.shown.length === 1);
    stage.hub.knows("another");
    await expect(subscription.done).rejects.toThrow(/^refused: the hub at .* answers Unauthenticated/);
    expect(asked).toBe(2);
  });

  it("is shown once more when the function gives it again, and asked for until there is another", async () => {
    const answers = [TOKEN, TOKEN, TOKEN, "another"];
    await listen(() => {}, { token: () => answers.shift() ?? "another" });
    await until("it runs", () => stage.hub.shown.length === 1);
    stage.hub.knows("another");
    await until("it runs again", () => stage.hub.shown.length === 2);
    expect([stage.hub.shown, answers]).toEqual([[TOKEN, "another"], []]);
  });

  it("ends the subscription when the function has given it five times more, and the hub knows it no more", async () => {
    let asked = 0;
    const subscription = await listen(() => {}, { token: () => (asked++, TOKEN) });
    await until("it runs", () => stage.hub.shown.length === 1);
    stage.hub.knows("another");
    await expect(subscription.done).rejects.toThrow(/^refused: the hub at .* answers Unauthenticated/);
    expect(asked).toBe(1 + 5);
  });

  it("is refused at the start when the function fails, and asked for again when it fails later", async () => {
    const cause = new Error("not today");
    const fails = () => Promise.reject(cause);
    await expect(listen(() => {}, { token: fails })).rejects.toMatchObject({ code: "refused", cause });
    // It throws at once, before it has given a promise.
    const answers = [TOKEN, cause, cause, "another"];
    const token = (): string => {
      const answer = answers.shift() ?? "another";
      if (typeof answer !== "string") throw answer;
      return answer;
    };
    await listen(() => {}, { token });
    await until("it runs", () => stage.hub.shown.length === 1);
    stage.hub.knows("another");
    await until("it runs again", () => stage.hub.shown.length === 2);
    expect([stage.hub.shown, answers]).toEqual([[TOKEN, "another"], []]);
    expect(stage.warned).toContainEqual([{ code: "refused" }, "there is no token to show; asking again"]);
  });

  it("takes the place of the one before ahead of its end: the stream goes on, nobody is refused", async () => {
    const first = webToken(8_000);
    const second = webToken(3_600_000);
    const answers = [first, second];
    stage.hub.knows(first, second);
    const got: bigint[] = [];
    const subscription = await listen(({ sequence }) => void got.push(sequence), {
      token: () => answers.shift() ?? second,
    });
    stage.hub.publish(completed("c1", 1));
    await until("the first came", () => got.length === 1);
    await until("another stream runs", () => stage.hub.shown.length === 2);
    stage.hub.publish(completed("c1", 2));
    await until("the second is settled", () => stage.hub.acks.length === 2);
    expect(stage.hub.shown).toEqual([first, second]);
    expect([got, stage.warned, subscription.stats().retried]).toEqual([[1n, 2n], [], 0]);
  });
});

describe("a proof", () => {
  const log = { info: () => {}, warn: () => {} };

  it("is asked for once by all who want it at the same time", async () => {
    let asked = 0;
    const proof = createProof(() => `token ${++asked}`, log);
    await Promise.all([proof.renew(), proof.renew()]);
    expect(proof.value).toBe("token 1");
    await proof.renew();
    expect(proof.value).toBe("token 2");
  });

  it("that is given for good is never asked for", async () => {
    const proof = createProof(webToken(1_200), log);
    const forget = proof.watch(() => {
      throw new Error("nobody could have been asked");
    });
    await proof.renew();
    expect([proof.renewable, proof.value]).toEqual([false, proof.value]);
    forget();
  });

  it.each([
    ["a token", webToken(0)],
    ["a .creds file", `-----BEGIN NATS USER JWT-----\n${webToken(0)}\n------END NATS USER JWT------\n`],
  ])("names its end: %s", (_, text) => {
    expect(endOf(text)).toBeGreaterThan(Date.now() - 60_000);
  });

  it.each(["", "a key", "SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4", "a.b.c", "a.bnVsbA.c"])(
    "keeps its end to itself: %j",
    (text) => {
      expect(endOf(text)).toBeUndefined();
    },
  );
});

describe("what a hub says", () => {
  it.each([
    ["consumer_differs", "consumer_differs", "consumer_differs: why"],
    ["limit_reached", "refused", "refused: the hub answers FailedPrecondition: limit_reached: why"],
  ])("of a precondition is told by its own code: %s", async (own, code, message) => {
    stage.hub.refuses(own);
    const subscription = await listen(() => {});
    await expect(subscription.done).rejects.toMatchObject({ code, message });
  });

  it("of events that are gone is warned of and counted once, however often it is said, and acknowledged", async () => {
    const got: bigint[] = [];
    const subscription = await listen(({ sequence }) => void got.push(sequence));
    stage.hub.failAcks(Number.POSITIVE_INFINITY);
    stage.hub.publish(gone("c1", 7, 7));
    await until("it is counted", () => subscription.stats().gone > 0);
    stage.hub.cut();
    await until("it reads again", () => stage.hub.requests.length === 2);
    // What comes behind it says that it came again.
    stage.hub.publish(completed("c1", 8));
    await until("its successor came", () => got.length === 1);
    stage.hub.failAcks(0);
    await until("both are settled", () => stage.hub.acks.length === 2);
    expect(stage.hub.requests.map(({ tellGone }) => tellGone)).toEqual([true, true]);
    expect(stage.hub.acks.find(({ sequence }) => sequence === 7n)?.outcome).toBe(Outcome.HANDLED);
    expect([got, subscription.stats().gone]).toEqual([[8n], 7]);
    expect(stage.warned.filter(([{ code }]) => code === "events_gone")).toEqual([
      [{ code: "events_gone", connectionId: "c1", count: 7, upTo: 7 }, expect.stringContaining("will not get them")],
    ]);
  });

  it("of events that are gone counts each once, also when there are more of them before it has heard of the first", async () => {
    const subscription = await listen(() => {});
    stage.hub.failAcks(Number.POSITIVE_INFINITY);
    stage.hub.publish(gone("c1", 7, 7));
    await until("it is counted", () => subscription.stats().gone > 0);
    stage.hub.cut();
    stage.hub.publish(gone("c1", 9, 9), gone("c2", 3, 2));
    await until("all are counted", () => subscription.stats().gone >= 7 + 2 + 2);
    stage.hub.failAcks(0);
    await until("they are settled", () => stage.hub.acks.length === 3);
    const told = stage.warned.map(([fields]) => fields).filter(({ code }) => code === "events_gone");
    expect(told.map(({ connectionId, count, upTo }) => [connectionId, count, upTo])).toEqual([
      ["c1", 7, 7],
      ["c1", 2, 9],
      ["c2", 2, 3],
    ]);
    expect(subscription.stats().gone).toBe(7 + 2 + 2);
  });

  it("is told of a dead letter how often it was tried, and what it knew of the event", async () => {
    await listen(
      () => {
        throw new Error("no");
      },
      { attemptsMax: 2 },
    );
    const event = { ...completed("c1", 1), subject: "evt.v1.acme.todoist.task.completed" };
    stage.hub.publish(event);
    await until("it is settled", () => stage.hub.acks.length === 1);
    const { id: eventId, type, subject } = event;
    expect(stage.hub.acks[0]).toMatchObject({ outcome: Outcome.DEAD_LETTER, attempts: 2, eventId, type, subject });
  });
});
