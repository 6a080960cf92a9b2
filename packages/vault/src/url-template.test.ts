import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VaultError } from "./errors.ts";
import { fillHost, fillSpec, fillUrl, isTemplate } from "./url-template.ts";

const TEMPLATE = "https://{subdomain}.bamboohr.com/token.php?company={subdomain}";
const fill = (subdomain: string, template = TEMPLATE) => fillUrl(template, { subdomain });

/** @throws what is not one of the two refusals. */
function filledOr(subdomain: string, refused: string): string {
  try {
    return fill(subdomain);
  } catch (error) {
    if (error instanceof VaultError && /^(url_not_allowed|oauth_config_incomplete)$/.test(error.code)) return refused;
    throw error;
  }
}

describe("an address with a placeholder", () => {
  it.each(["acme", "a", "acme-2", "0", "a".repeat(63)])("takes %j", (label) =>
    expect(fill(label)).toBe(`https://${label}.bamboohr.com/token.php?company=${label}`),
  );

  const hostile = [
    "evil.example.com/#",
    "evil.example.com/?",
    "evil.example.com\\",
    "evil.example.com:443/",
    "me@evil",
    "a.b",
    "a/b",
    "a b",
    "a%2eb",
    "a。b",
    "a\u0000",
    "a\n",
    "-a",
    "a-",
    "ACME",
    "xn--80ak6aa92e",
    "аcme",
    "a".repeat(64),
    "{subdomain}",
    "$&",
    "..",
  ];
  it.each(hostile)("refuses %j", (value) =>
    expect(() => fill(value)).toThrow(expect.objectContaining({ code: "url_not_allowed" })),
  );

  it.each([{}, { subdomain: "" }, { other: "acme" }, JSON.parse('{"__proto__":{"subdomain":"acme"}}')])(
    "says what is missing (%j)",
    (values: Record<string, string>) =>
      expect(() => fillUrl(TEMPLATE, values)).toThrow(expect.objectContaining({ code: "oauth_config_incomplete" })),
  );

  it("never leaves the declared suffix, whatever is entered", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.webUrl(), fc.domain(), fc.stringMatching(/^[a-z.@/\\#?:%-]{1,20}$/)),
        (text) => {
          const { protocol, host, username } = new URL(filledOr(text, "https://refused.bamboohr.com/"));
          expect([protocol, username, host.split(".").slice(1).join(".")]).toEqual(["https:", "", "bamboohr.com"]);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("never quotes what was entered", () => {
    for (const value of hostile.filter((text) => text.length > 3))
      expect(() => fill(value)).not.toThrow(expect.objectContaining({ message: expect.stringContaining(value) }));
  });

  it.each([
    "http://{subdomain}.bamboohr.com/",
    "https://{subdomain}/",
    "https://{subdomain}.com/",
    "https://x{subdomain}.bamboohr.com/",
    "https://api.{subdomain}/",
    "https://{a}.{b}/",
    "https://bamboohr.com@{subdomain}.example.com/",
    "{scheme}://api.bamboohr.com/",
  ])("that lets a value choose the domain (%s) is its author's error", (template) =>
    expect(() => fillUrl(template, { subdomain: "acme", a: "a", b: "b", scheme: "https" })).toThrow(TypeError),
  );

  it("may have a port, several placeholders, and none at all", () => {
    expect(fillUrl("https://{a}.{b}.example.com:8443/{c}", { a: "x", b: "y", c: "z" })).toBe(
      "https://x.y.example.com:8443/z",
    );
    expect(fillUrl("https://api.example.com/{region}", { region: "eu" })).toBe("https://api.example.com/eu");
    expect(fillUrl("https://api.example.com/", {})).toBe("https://api.example.com/");
    expect([fillHost("{a}.example.com", { a: "x" }), fillHost("api.example.com:444", {})]).toEqual([
      "x.example.com",
      "api.example.com:444",
    ]);
  });

  it("is filled in wherever a spec has one", () => {
    const spec = {
      authorizationUrl: "https://{subdomain}.bamboohr.com/authorize",
      tokenUrl: "https://{subdomain}.bamboohr.com/token",
      issuer: "https://{subdomain}.bamboohr.com",
      revocation: { method: "POST", url: "https://{subdomain}.bamboohr.com/revoke" },
    } as const;
    expect(isTemplate(JSON.stringify(fillSpec(spec, { subdomain: "acme" })))).toBe(false);
  });
});
