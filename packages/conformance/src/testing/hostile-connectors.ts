import {
  checkpoint,
  type Connector,
  ContractViolation,
  type Json,
  RateLimited,
  ReauthRequired,
  type Signal,
} from "@tributary/sdk";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { changes, sample, signalOf } from "./sample-connector.ts";

/** The sample connector with one defect, and the check that has to find it. */
export interface Hostile {
  readonly defect: string;
  /** Name of a check. */
  readonly foundBy: string;
  /** @param elsewhere an origin on loopback that no manifest lists. */
  make(elsewhere: string): Connector;
}

type Fetch = Connector["fetchSignals"];
const fetching = (fetchSignals: Fetch): Connector => ({ ...sample, fetchSignals });

/** Changes what the sample yields, one by one. */
const mapped = (change: (one: Signal) => readonly Signal[]): Connector =>
  fetching(async function* (user, since) {
    for await (const one of sample.fetchSignals(user, since)) {
      if (one.kind === "signal") yield* change(one);
      else yield one;
    }
  });

const LOST = "a crash after any yield loses nothing and repeats nothing";

/** Promises to itself that what it yielded once has arrived. */
function forgetful(): Connector {
  const seen = new Set<string>();
  return fetching(async function* (user, since) {
    for await (const one of sample.fetchSignals(user, since)) {
      const name = one.kind === "signal" ? `${user.connectionId} ${one.id}` : undefined;
      if (name === undefined || !seen.has(name)) yield one;
      if (name !== undefined) seen.add(name);
    }
  });
}

export const hostileConnectors: readonly Hostile[] = [
  {
    defect: "moves the cursor before it yields what the cursor covers",
    foundBy: LOST,
    make: () =>
      fetching(async function* (user, since) {
        for (let cursor = since, more = true; more;) {
          const page = await changes(user, cursor);
          ({ cursor, more } = page);
          yield checkpoint(cursor);
          for (const note of page.notes) yield signalOf(user, note);
          if (!more) yield checkpoint(cursor);
        }
      }),
  },
  {
    defect: "keeps what it has seen in memory, and skips it after a crash",
    foundBy: LOST,
    make: forgetful,
  },
  {
    defect: "keeps what it has seen in memory, and skips it when the commit failed",
    foundBy: "a process killed before or after any commit loses nothing and repeats nothing",
    make: forgetful,
  },
  {
    defect: "never yields a checkpoint",
    foundBy: "a backfill reads what is there and ends with a checkpoint",
    make: () =>
      fetching(async function* (user, since) {
        for await (const one of sample.fetchSignals(user, since)) if (one.kind === "signal") yield one;
      }),
  },
  {
    defect: "yields more after its last checkpoint",
    foundBy: "a backfill reads what is there and ends with a checkpoint",
    make: () =>
      fetching(async function* (user, since) {
        yield* sample.fetchSignals(user, since);
        yield signalOf(user, { id: "extra", title: "Extra", deleted: false });
      }),
  },
  {
    defect: "makes up ids",
    foundBy: "what is read again is not published again",
    make: () => mapped((one) => [{ ...one, id: randomUUID() }]),
  },
  {
    defect: "takes the time of reading for a revision",
    foundBy: "what is read again is not published again",
    make: () => mapped((one) => [{ ...one, revision: one.occurredAt.toISOString() }]),
  },
  {
    defect: "does not report deletions",
    foundBy: "every change after the backfill arrives exactly once, deletions included",
    make: () => mapped((one) => (one.schema.typeName.endsWith("Deleted") ? [] : [one])),
  },
  {
    defect: "reports every change twice, as if it had happened twice",
    foundBy: "every change after the backfill arrives exactly once, deletions included",
    make: () =>
      mapped((one) => [
        { ...one, revision: "1" },
        { ...one, revision: "2" },
      ]),
  },
  {
    defect: "takes the cursor after it has read the history",
    foundBy: "what changes while the backfill reads is not lost",
    make: () =>
      fetching(async function* (user, since) {
        const read: Signal[] = [];
        for await (const one of sample.fetchSignals(user, since)) if (one.kind === "signal") read.push(one);
        yield* read;
        let page = await changes(user, since);
        while (page.more) page = await changes(user, page.cursor);
        yield checkpoint(page.cursor);
      }),
  },
  {
    defect: "takes a refused credential for an empty answer",
    foundBy: "a 401 that a renewal does not cure gets the right class, and nothing is lost",
    make: () =>
      fetching(async function* (user, since) {
        try {
          yield* sample.fetchSignals(user, since);
        } catch (error) {
          if (!(error instanceof ReauthRequired)) throw error;
          yield checkpoint(since ?? "1-0");
        }
      }),
  },
  {
    defect: "calls every failure a broken contract",
    foundBy: "a 503 gets the right class, and nothing is lost",
    make: () =>
      fetching(async function* (user, since) {
        try {
          yield* sample.fetchSignals(user, since);
        } catch (error) {
          throw new ContractViolation("Something went wrong.", { cause: error });
        }
      }),
  },
  {
    defect: "forgets how long it was asked to wait",
    foundBy: "a 429 with Retry-After: 120 gets the right class, and nothing is lost",
    make: () => ({ ...sample, fetchSignals: withoutWait }),
  },
  {
    defect: "believes any body",
    foundBy: "a 200 with JSON of another shape gets the right class, and nothing is lost",
    make: () =>
      fetching(async function* (user, since) {
        const response = await user.fetch("https://notes.example.com/changes");
        const body = (await response.json()) as { notes?: []; cursor?: string };
        for (const note of body.notes ?? []) yield signalOf(user, note);
        yield checkpoint(body.cursor ?? since ?? "1-0");
      }),
  },
  {
    defect: "reports elsewhere what it reads",
    foundBy: "no request leaves for a host that the manifest does not list",
    make: (elsewhere) =>
      fetching(async function* (user, since) {
        await fetch(elsewhere);
        yield* sample.fetchSignals(user, since);
      }),
  },
  {
    defect: "asks another host and hides the refusal",
    foundBy: "no request leaves for a host that the manifest does not list",
    make: () =>
      fetching(async function* (user, since) {
        await user.fetch("https://elsewhere.example.com/").catch(() => {});
        yield* sample.fetchSignals(user, since);
      }),
  },
  {
    defect: "waits without listening to the signal",
    foundBy: "a run ends within a second of the signal",
    make: () =>
      fetching(async function* (user, since) {
        for await (const one of sample.fetchSignals(user, since)) {
          yield one;
          await sleep(user.signal.aborted ? 1_500 : 0);
        }
      }),
  },
  {
    defect: "writes the code of the consent into an event",
    foundBy: "no secret shows up in a table, an event, a log line or an error",
    make: () => {
      let kept = "";
      return {
        ...sample,
        finishOAuth: (code, state) => {
          kept = code;
          return sample.finishOAuth(code, state);
        },
        async *fetchSignals(user, since) {
          yield signalOf(user, { id: "code", title: kept, deleted: false });
          yield* sample.fetchSignals(user, since);
        },
      };
    },
  },
  {
    defect: "quotes the answer's body in an error",
    foundBy: "no secret shows up in a table, an event, a log line or an error",
    make: () =>
      fetching(async function* (user, since) {
        const probe = await user.fetch("https://notes.example.com/changes");
        if (!probe.ok) throw new Error(`unexpected answer: ${await probe.text()}`);
        yield* sample.fetchSignals(user, since);
      }),
  },
  {
    defect: "uses a new key for every attempt",
    foundBy: "asking twice with one key acts once, also when the first answer was lost",
    make: () => ({
      ...sample,
      act: async (user, action) => (await sample.act?.(user, { ...action, idempotencyKey: randomUUID() })) ?? {},
    }),
  },
  {
    defect: "takes a refusal for a success",
    foundBy: "an action that the provider refuses is answered as refused",
    make: () => ({
      ...sample,
      act: async (user, action) => (await sample.act?.(user, action).catch(() => ({}))) ?? {},
    }),
  },
  {
    defect: "links without redeeming the code",
    foundBy: "a wrong code stores nothing",
    make: () => ({ ...sample, finishOAuth: async () => ({ id: "7", label: "sample@example.com" }) }),
  },
  {
    defect: "names another account every time",
    foundBy: "consent ends in a connection with the provider's account",
    make: () => ({
      ...sample,
      finishOAuth: async (code, state) => ({ ...(await sample.finishOAuth(code, state)), id: randomUUID() }),
    }),
  },
  {
    defect: "does nothing on revoke",
    foundBy: "disconnecting ends the tokens, deletes the secrets and gives one receipt",
    make: () => ({ ...sample, revoke: async () => {} }),
  },
  {
    defect: "takes a lost answer for a revocation",
    foundBy: "revoking again, when the first answer was lost, is fine",
    make: () => ({ ...sample, revoke: (user) => sample.revoke(user).catch(() => {}) }),
  },
  {
    defect: "keeps an expired cursor",
    foundBy: "an expired cursor is dropped, and nothing is published twice",
    make: () =>
      fetching(async function* (user, since) {
        const asked = await user.fetch("https://notes.example.com/changes", queryOf(since));
        if (asked.status === 410) yield checkpoint(since ?? "1-0");
        else yield* sample.fetchSignals(user, since);
      }),
  },
  {
    defect: "wakes nobody",
    foundBy: "a webhook wakes its connection, and the same one again does nothing",
    make: () => ({
      ...sample,
      webhook: { verify: webhookOf(sample).verify, deliveryIdHeader: "x-delivery", accounts: () => [] },
    }),
  },
];

const queryOf = (since: Json | undefined) => (typeof since === "string" ? { query: { cursor: since } } : {});

function webhookOf({ webhook }: Connector): NonNullable<Connector["webhook"]> {
  if (webhook === undefined) throw new Error("the sample has a webhook");
  return webhook;
}

const withoutWait: Fetch = async function* (user, since) {
  const json: typeof user.json = async (schema, url, options) => {
    const response = await user.fetch(url, options);
    if (response.status === 429) throw new RateLimited("Too many requests.");
    return user.json(schema, url, options);
  };
  yield* sample.fetchSignals({ ...user, json }, since);
};
