import { headers } from "@nats-io/transport-node";
import { eventHeaders } from "@tributary/contracts";
import { assert, bigInt, boolean, constantFrom, date, nat, option, property, record, string, uuid } from "fast-check";
import { describe, expect, it } from "vitest";
import type { LedgerEvent } from "./ledger.ts";
import { type Expected, publishHeaders } from "./relay-headers.ts";

/** As the client writes them, by its own documented way. */
function plainly(event: LedgerEvent, { lastSequence, before }: Expected): Uint8Array {
  const head = headers();
  for (const [name, value] of eventHeaders({ ...event, time: new Date(event.timeMs).toISOString() }))
    head.set(name, value);
  head.set("Nats-Msg-Id", event.id);
  head.set("Nats-Expected-Last-Sequence", String(lastSequence));
  if (before !== undefined) head.set("Nats-Expected-Last-Msg-Id", before.id);
  return encoded(head);
}

const encoded = (head: unknown): Uint8Array => new Uint8Array((head as { encode(): Uint8Array }).encode());

const events = record({
  organizationId: constantFrom("acme", "żółw", "a-b_c"),
  connectionId: uuid(),
  connector: constantFrom("todoist", "google-calendar"),
  sequence: bigInt({ min: 1n, max: 2n ** 63n - 1n }),
  id: string({ minLength: 22, maxLength: 22, unit: constantFrom("a", "Z", "0", "-", "_") }),
  type: constantFrom("tributary.task.v1.TaskCompleted", "tributary.system.v1.ConnectionEnded"),
  subject: constantFrom("evt.v1.acme.todoist.task.completed"),
  objectKey: string({ minLength: 1, unit: "binary" }).map((text) => `task/${text.toWellFormed()}`),
  timeMs: date({ noInvalidDate: true }).map((at) => at.getTime()),
  backfill: boolean(),
  traceparent: constantFrom("", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
  payload: constantFrom(new Uint8Array([1])),
});

describe("the headers of a published event", () => {
  it("are byte for byte what the client would write", () => {
    assert(
      property(events, nat(), option(events, { nil: undefined }), (event, lastSequence, before) => {
        expect(encoded(publishHeaders(event, { lastSequence, before }))).toEqual(
          plainly(event, { lastSequence, before }),
        );
      }),
      { numRuns: 500 },
    );
  });

  it("stay lines of their own, whatever a value holds", () => {
    const [event] = [{ ...sample, traceparent: "00\r\nNats-Msg-Id: other", organizationId: "a\nb" }];
    const text = Buffer.from(encoded(publishHeaders(event, { lastSequence: 1 }))).toString();
    expect(text.match(/Nats-Msg-Id: /g)).toHaveLength(1);
    expect(text.split("\r\n").filter((one) => one.startsWith("trib-organization"))).toEqual([
      "trib-organization: a%0Ab",
    ]);
  });
});

const sample: LedgerEvent = {
  organizationId: "acme",
  connectionId: "00000000-0000-4000-8000-000000000000",
  connector: "todoist",
  sequence: 1n,
  id: "a".repeat(22),
  type: "tributary.task.v1.TaskCompleted",
  subject: "evt.v1.acme.todoist.task.completed",
  objectKey: "task/1",
  timeMs: 0,
  backfill: false,
  traceparent: "",
  payload: new Uint8Array([1]),
};
