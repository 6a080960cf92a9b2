import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { consumerKnownAs, deadLetterSubject, durableName, readDurableName } from "./index.ts";

const name = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,63}$/);
const organization = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,62}$/);

describe("a durable consumer's name", () => {
  it("says whose it is", () => {
    expect(durableName("billing", "acme")).toBe("acme_billing");
    expect(durableName(consumerKnownAs("billing"))).toBe("_billing");
    expect(readDurableName("acme_billing")).toEqual({ knownAs: "billing", organizationId: "acme" });
    expect(readDurableName("_billing")).toEqual({ knownAs: "_billing" });
  });

  it("can be read in one way only, whatever organisation and name are", () => {
    fc.assert(
      fc.property(name, fc.option(organization, { nil: undefined }), (given, organizationId) => {
        const knownAs = consumerKnownAs(given, organizationId);
        const read = readDurableName(durableName(knownAs, organizationId));
        expect(read).toEqual(organizationId === undefined ? { knownAs } : { knownAs, organizationId });
      }),
    );
  });

  it.each(["", "_", "billing", "acme_", "acme_-b", "Acme_billing", "acme_b.c", "-a_b", "acme_billing ", "__billing"])(
    "is not read from what is none: %j",
    (durable) => {
      expect(readDurableName(durable)).toBeUndefined();
    },
  );

  it.each([
    ["b_c", "a"],
    ["", "a"],
    ["*", "a"],
    ["-b", "a"],
    ["b".repeat(65), "a"],
    ["b", "a.b"],
    ["b", ""],
    ["b", "_a"],
  ])("is not made of what is none: %j of %j", (knownAs, organizationId) => {
    expect(() => durableName(knownAs, organizationId)).toThrow(TypeError);
  });

  it("fits into the subject of its dead letters, and nothing else does", () => {
    expect(deadLetterSubject("billing", "acme")).toBe("dlq.v1.billing.acme");
    expect(deadLetterSubject("_billing", "acme")).toBe("dlq.v1._billing.acme");
    for (const consumer of ["*", ">", "a.b", "acme_billing", ""])
      expect(() => deadLetterSubject(consumer, "acme")).toThrow(TypeError);
  });
});
