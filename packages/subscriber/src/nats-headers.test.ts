import type { JsMsg } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import { type EventAttributes, eventHeaders } from "@tributary/contracts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { headerText, readAttributes } from "./nats-headers.ts";

/** As the client hands it over: the bytes at some place of a larger buffer, and what it reads in them. */
function message(pairs: readonly (readonly [string, string])[], behind = ""): JsMsg {
  const head = headers();
  for (const [name, value] of pairs) head.append(name, value);
  const encoded = Buffer.from((head as unknown as { encode(): Uint8Array }).encode());
  const bytes = Buffer.concat([Buffer.from("before"), encoded, Buffer.from(behind)]).subarray(6);
  return { headers: head, msg: { _rdata: bytes, _msg: { hdr: encoded.length } } } as unknown as JsMsg;
}

const onlyThroughClient = ({ headers: head }: JsMsg): JsMsg => ({ headers: head }) as JsMsg;

const text = fc.string({ minLength: 1, unit: "grapheme" });
const event: fc.Arbitrary<EventAttributes> = fc.record({
  id: fc.stringMatching(/^[A-Za-z0-9_-]{1,22}$/),
  type: fc.constantFrom("tributary.task.v1.TaskCompleted", "a.B"),
  organizationId: fc.constant("acme"),
  connectionId: fc.uuid(),
  connector: fc.constant("todoist"),
  objectKey: text,
  sequence: fc.bigInt({ min: 1n, max: 2n ** 63n }),
  time: fc.constant("2026-11-21T04:00:00.000Z"),
  backfill: fc.boolean(),
  traceparent: fc.constantFrom("", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
});

describe("the headers of a message", () => {
  it("are read from the client's bytes as the client reads them", () => {
    fc.assert(
      fc.property(event, fc.string(), (attributes, payload) => {
        const given = message([...eventHeaders(attributes), ["Nats-Msg-Id", attributes.id]], payload);
        expect(headerText(given)).toBeDefined();
        expect(readAttributes(given)).toEqual(attributes);
        expect(readAttributes(onlyThroughClient(given))).toEqual(attributes);
      }),
    );
  });

  it("are read through the client when they are not ASCII, or not where they were", () => {
    const [first, ...rest] = eventHeaders({ ...(fc.sample(event, 1)[0] as EventAttributes), objectKey: "task/1" });
    const given = message([...(first === undefined ? [] : [first]), ...rest, ["x-note", "żółw"]]);
    expect(headerText(given)).toBeUndefined();
    expect(readAttributes(given)?.objectKey).toBe("task/1");
  });

  it("take the first of several, and nothing from a message without any", () => {
    const attributes = fc.sample(event, 1)[0] as EventAttributes;
    const given = message([...eventHeaders(attributes), ["ce-id", "another"], ["odd", "x: y"]]);
    expect(headerText(given)).toContain("ce-id: another");
    expect(readAttributes(given)).toEqual(attributes);
    expect(readAttributes(onlyThroughClient(given))).toEqual(attributes);
    expect(readAttributes(message([["ce-id", "a"]]))).toBeUndefined();
    expect(readAttributes({} as JsMsg)).toBeUndefined();
  });
});
