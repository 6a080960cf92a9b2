import type { Plant } from "./plants.ts";

/** Bugs that show when wires are cut, over HTTP, between two writers, and where events die and are replayed. */
export const WIRE_PLANTS: readonly Plant[] = [
  {
    id: "no-expected-id",
    means: "publishes a window without naming the event before each",
    file: "packages/pipeline/src/relay-headers.ts",
    find: `  if (before !== undefined) text += line("Nats-Expected-Last-Msg-Id", messageId(before));\n`,
    replace: "",
    trial: "intruder",
  },
  {
    id: "sequence-outside-the-lock",
    means: "takes the sequence from what stood there before the lock was granted",
    file: "packages/pipeline/src/append.ts",
    find: "RETURNING head - $3 AS base,",
    replace: "RETURNING coalesce((SELECT q.head FROM pipeline.position q WHERE q.connection_id = $1), 0) AS base,",
    trial: "two writers",
  },
  {
    id: "loss-unseen",
    means: "goes on after a lost connection as if nothing had been on its way",
    file: "packages/subscriber/src/nats-road.ts",
    find: "pulled.stop(new ConnectionLost())",
    replace: "void 0",
    trial: "subscriber's wire",
  },
  {
    id: "six-acks",
    means: "gives an acknowledgement over HTTP up after six attempts",
    file: "packages/subscriber/src/http.ts",
    find: "for (let attempt = 1; ; attempt++) {",
    replace: "for (let attempt = 1; attempt <= 6; attempt++) {",
    trial: "acks refused",
  },
  {
    id: "read-is-settled",
    means: "takes for settled what was read and is still outstanding",
    file: "packages/pipeline/src/lane.ts",
    find: "return first === undefined ? read.sequence : first - 1n;",
    replace: "return first === undefined ? read.sequence : read.sequence;",
    trial: "hub and subscriber die",
  },
  {
    id: "settled-then-buried",
    means: "settles an event over HTTP before its dead letter is kept",
    file: "packages/pipeline/src/stream.ts",
    find: `if (settlement.outcome === "dead_letter") await bury(database, fateOf(settlement));`,
    replace: `if (settlement.outcome === "dead_letter") {
      await entry?.stream.settle(connectionId, sequence);
      await bury(database, fateOf(settlement));
    }`,
    trial: "hub and subscriber die",
  },
  {
    id: "inbox-without-replay",
    means: "the inbox takes a replayed event for the one before",
    file: "packages/subscriber/src/inbox.ts",
    find: "replayId === undefined ? id :",
    replace: "id !== undefined ? id :",
    trial: "hub and subscriber die",
  },
  {
    id: "acked-then-kept",
    means: "acknowledges an event over NATS before its dead letter is kept",
    file: "packages/subscriber/src/nats.ts",
    find: "    if (connected === undefined) return;\n    const { js, jsm } = connected;\n",
    replace: `    if (connected === undefined) return;
    message.ack();
    await connected.nc.flush();
    const { js, jsm } = connected;\n`,
    trial: "letters beside a broker",
  },
  {
    id: "one-letter-an-event",
    means: "publishes the dead letter of what was delivered again under the first one's message id",
    file: "packages/subscriber/src/nats.ts",
    find: "const again = replayId !== undefined || redrive > 0;",
    replace: "const again = false;",
    trial: "letters beside a broker",
  },
  {
    id: "replay-under-own-id",
    means: "publishes what is delivered again under the event's own message id",
    file: "packages/pipeline/src/jetstream-side.ts",
    find: "const msgID = redrive === 0 ? `${via}:${event.id}` : `${via}:${event.id}:${redrive}`;",
    replace: "const msgID = event.id;",
    trial: "letters beside a broker",
  },
  {
    id: "redriven-then-published",
    means: "forgets a dead letter before it is published again",
    file: "packages/pipeline/src/dead-letters.ts",
    find: "  const refused = await nats.publish(\n",
    replace: `  await withOrganization(database, organizationId, (tx) =>
    run(tx, "DELETE FROM pipeline.dead_letter WHERE organization_id = $1 AND id = ANY ($2::uuid[])", [
      organizationId,
      letters.map(({ letterId }) => letterId),
    ]),
  );
  const refused = await nats.publish(\n`,
    trial: "letters beside a broker",
  },
];
