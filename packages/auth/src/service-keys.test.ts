import { describe, expect, it } from "vitest";
import { createServiceKeys } from "./service-keys.ts";

const [first, second] = ["a".repeat(32), "b".repeat(40)];
const keys = createServiceKeys([
  { name: "mailer", organizationId: "acme", key: first },
  { name: "mailer", organizationId: "acme", key: second },
  { name: "other", organizationId: "globex", key: "c".repeat(32) },
]);

describe("service keys", () => {
  it.each([
    [`Bearer ${first}`, "acme"],
    [`bearer ${second}`, "acme"],
    [`Bearer ${"c".repeat(32)}`, "globex"],
  ])("know %s", (header, organizationId) => {
    expect(keys.authenticate(header)?.organizationId).toBe(organizationId);
  });

  it.each([
    null,
    "",
    "Bearer",
    "Bearer ",
    `Basic ${first}`,
    `Bearer ${first}x`,
    `Bearer ${first.slice(1)}`,
    `Bearer ${first} `,
    `Bearer ${"x".repeat(600)}`,
  ])("refuse %j", (header) => {
    expect(keys.authenticate(header)).toBeUndefined();
  });

  it("are refused at start when they are short", () => {
    expect(() => createServiceKeys([{ name: "weak", organizationId: "acme", key: "short" }])).toThrow(
      'service "weak" has fewer than 32',
    );
  });
});
