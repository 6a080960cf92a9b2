import { WIRE_PLANTS } from "./plants-of-wires.ts";

/** A bug, as a change of one place in real code, or of two of one file, and the trial in which it has to show. */
export interface Plant {
  readonly id: string;
  /** What the bug is, in a few words. */
  readonly means: string;
  /** Relative to the repository. */
  readonly file: string;
  /** Stands exactly once in the file. */
  readonly find: string;
  readonly replace: string;
  readonly trial: PlantTrial;
}

export type PlantTrial =
  | "load"
  | "silence"
  | "poison"
  | "relay dies"
  | "relay frozen"
  | "two relays"
  | "late record"
  | "hub beside another"
  | "broker dies"
  | "roll-back"
  | "commit dies"
  | "commit frozen"
  | "subscriber dies"
  | "intruder"
  | "two writers"
  | "subscriber's wire"
  | "acks refused"
  | "hub and subscriber die"
  | "letters beside a broker";

const RELAY = "packages/pipeline/src/relay.ts";
const PROGRESS = "packages/pipeline/src/relay-progress.ts";
const SOURCE = "packages/pipeline/src/relay-source.ts";
const JETSTREAM = "packages/pipeline/src/jetstream.ts";
const HEADERS = "packages/pipeline/src/relay-headers.ts";
const COMMIT = "packages/integrations/src/commit.ts";
const RUN = "packages/subscriber/src/run.ts";

const RELAY_PLANTS: readonly Plant[] = [
  {
    id: "no-expected-sequence",
    means: "publishes without Nats-Expected-Last-Sequence",
    file: HEADERS,
    find: `  text += line("Nats-Expected-Last-Sequence", String(lastSequence));\n`,
    replace: "",
    trial: "relay frozen",
  },
  {
    id: "no-fence",
    means: "records positions although another process leads",
    file: PROGRESS,
    find: "WITH leader AS (\n  SELECT stream FROM pipeline.relay_leader WHERE stream = $1 AND holder = $2 AND token = $3 FOR SHARE",
    replace:
      "WITH leader AS (\n  SELECT stream FROM pipeline.relay_leader WHERE stream = $1 AND $2::uuid IS NOT NULL AND $3::bigint IS NOT NULL",
    trial: "late record",
  },
  {
    id: "two-leaders",
    means: "takes the lead from whoever has it",
    file: "packages/pipeline/src/relay-leader.ts",
    find: "WHERE l.until < now() OR l.holder = excluded.holder",
    replace: "WHERE true",
    trial: "two relays",
  },
  {
    id: "poll-by-id",
    means: "looks only behind the highest connection id that it has seen",
    file: SOURCE,
    find: "    look: () => {\n      walk ??= FIRST_ID;",
    replace: "    look: () => {\n      walk ??= [...lanes.keys()].toSorted().at(-1) ?? FIRST_ID;",
    trial: "silence",
  },
  {
    id: "never-look",
    means: "believes in what it is told, and never looks for itself",
    file: RELAY,
    find: "          stream.source.look();\n",
    replace: "",
    trial: "silence",
  },
  {
    id: "mark-before-ack",
    means: "marks a window as published before it publishes it",
    file: RELAY,
    find: "        const publishing = stream.broker.publish(sorted.sent, stream.lastSequence);",
    replace: `        await record(database, stream.leadership, {
          published: new Map(sorted.sent.map((one) => [one.connectionId, one.sequence])),
          parked: new Map(),
        });
        const publishing = stream.broker.publish(sorted.sent, stream.lastSequence);`,
    trial: "relay dies",
  },
  {
    id: "silence-is-consent",
    means: "takes no answer for an acknowledgement",
    file: JETSTREAM,
    find: `known ?? { kind: "unavailable", reason: "no_answer" }`,
    replace: `known ?? { kind: "stored", streamSequence: lastSequence }`,
    trial: "broker dies",
  },
  {
    id: "no-message-id",
    means: "publishes without Nats-Msg-Id",
    file: HEADERS,
    find: "const messageId = ({ id }: LedgerEvent): string => id;",
    replace: 'const messageId = (_: LedgerEvent): string => "";',
    trial: "load",
  },
  {
    id: "past-the-first-failure",
    means: "goes on in a connection whose event was refused",
    file: "packages/pipeline/src/relay-window.ts",
    find: "    if (stopped.has(event.connectionId)) return false;\n",
    replace: "",
    trial: "poison",
  },
  {
    id: "regress-unseen",
    means: "does not notice that the stream ends earlier than it did",
    file: PROGRESS,
    find: "  if (known > state.lastSequence) {",
    replace: "  if (known > Number.MAX_SAFE_INTEGER) {",
    trial: "roll-back",
  },
  {
    id: "window-trusted",
    means: "trusts the window of message ids instead of asking the stream what it holds",
    file: PROGRESS,
    find: "  const found = await catchUp(database, broker, leadership, { state, known, foundSome });",
    replace: "  const found = 0;",
    trial: "relay dies",
  },
  {
    id: "memory-out-of-turn",
    means: "publishes from memory what is not next in its connection",
    file: SOURCE,
    find: "if (lane === undefined || lane.sequence !== firstSequence - 1n || behind.has(connectionId)) {",
    replace: "if (lane === undefined) {",
    trial: "hub beside another",
  },
  {
    id: "never-reset",
    means: "keeps in mind what it has given out, although the window was void",
    file: RELAY,
    find: "        source.reset();\n",
    replace: "",
    trial: "poison",
  },
];

const COMMIT_PLANTS: readonly Plant[] = [
  {
    id: "cursor-first",
    means: "moves the cursor, then commits the events before it",
    file: "packages/integrations/src/sync-run.ts",
    find: "      await flush(yielded.cursor);",
    replace:
      "      const kept = pending;\n      pending = [];\n      await flush(yielded.cursor);\n      pending = kept;\n      await flush();",
    trial: "commit dies",
  },
  {
    id: "two-transactions",
    means: "cursor and events in two transactions",
    file: COMMIT,
    find: "    const held = guard(tx, lease, cursor, backfill);\n",
    replace:
      "    const held = withOrganization(runtime.database, lease.organizationId, (apart) => guard(apart, lease, cursor, backfill));\n",
    trial: "commit dies",
  },
  {
    id: "no-lease-check",
    means: "commits without the lease",
    file: COMMIT,
    find: "WHERE id = $1 AND organization_id = $2 AND lease_token = $3 AND lease_until > now()",
    replace: "WHERE id = $1 AND organization_id = $2 AND $3::bigint IS NOT NULL",
    trial: "commit frozen",
  },
  {
    id: "object-state-ignored",
    means: "takes every signal for new",
    file: COMMIT,
    find: "  WHERE o.mark IS DISTINCT FROM i.mark\n",
    replace: "",
    trial: "load",
  },
  {
    id: "append-apart",
    means: "appends events in a transaction of their own",
    file: COMMIT,
    find: "await runtime.append(tx, batch)",
    replace: "await withOrganization(runtime.database, lease.organizationId, (apart) => runtime.append(apart, batch))",
    trial: "commit dies",
  },
  {
    id: "lease-kept",
    means: "does not give the lease back",
    file: "packages/integrations/src/settle-run.ts",
    find: "SET failures = $4, lease_until = NULL, wake = false,",
    replace: "SET failures = $4, wake = false,",
    trial: "load",
  },
];

const SUBSCRIBER_PLANTS: readonly Plant[] = [
  {
    id: "inbox-by-object",
    means: "the inbox remembers the object instead of the event",
    file: RUN,
    find: "options.inbox.once(inboxKey(attributes), effect)",
    replace: "options.inbox.once(attributes.connectionId + attributes.objectKey, effect)",
    trial: "load",
  },
  {
    id: "inbox-by-delivery",
    means: "the inbox remembers the delivery instead of the event",
    file: RUN,
    find: "options.inbox.once(inboxKey(attributes), effect)",
    replace: "options.inbox.once(`${inboxKey(attributes)} ${attempt}`, effect)",
    trial: "subscriber dies",
  },
  {
    id: "inbox-apart",
    means: "the inbox row follows the effect in a transaction of its own",
    file: "packages/subscriber/src/postgres-inbox.ts",
    find: `      transaction(async (tx) => {
        if ((await run(tx, record, [consumer, key])).length === 0) return false;
        await effect(tx);
        return true;
      }),`,
    replace: `      transaction(async (tx) => {
        const known = \`SELECT 1 FROM \${table} WHERE consumer = $1 AND key = $2\`;
        if ((await run(tx, known, [consumer, key])).length > 0) return false;
        await effect(tx);
        return true;
      }).then(async (done) => {
        if (done) await transaction((tx) => run(tx, record, [consumer, key]));
        return done;
      }),`,
    trial: "subscriber dies",
  },
  {
    id: "ack-before-effect",
    means: "acknowledges before the effect",
    file: RUN,
    find: "    const settlement = await handle(delivery, place);",
    replace:
      '    await delivery.settle({ outcome: "handled" });\n    const settlement = await handle(delivery, place);',
    trial: "subscriber dies",
  },
  {
    id: "lanes-ignored",
    means: "a retry does not hold what follows in its connection",
    file: RUN,
    find: `if (taken === "new") lanes.push(lane, delivery);`,
    replace: 'if (taken === "new") lanes.push(`${lane} ${sequence}`, delivery);',
    trial: "load",
  },
  {
    id: "newer-first",
    means: "handles newer events before those that a dead process held",
    file: "packages/subscriber/src/nats-road.ts",
    find: "    let keepBack = true;",
    replace: "    let keepBack = false;",
    trial: "subscriber dies",
  },
];

export const PLANTS: readonly Plant[] = [...RELAY_PLANTS, ...COMMIT_PLANTS, ...SUBSCRIBER_PLANTS, ...WIRE_PLANTS];

/** @throws Error when a place is not there exactly once: then the code has changed, and the plant has to follow. */
export function planted({ id, file, find, replace }: Plant, text: string): string {
  const found = text.split(find).length - 1;
  if (found !== 1) throw new Error(`the planted bug "${id}" finds its place ${found} times in ${file}, and not once`);
  return text.replace(find, () => replace);
}
