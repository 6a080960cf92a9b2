import { beforeEach, describe, expect, it } from "vitest";
import { answerTo, guardWith, NOW, post, request, sign } from "./testing/issuer.ts";

let guard: ReturnType<typeof guardWith>;
beforeEach(() => {
  guard = guardWith();
});

const multipart = (name: string, value: string): RequestInit => {
  const form = new FormData();
  form.append("other", "1");
  form.append(name, value);
  return { method: "POST", body: form };
};

describe("another organisation than the proof's", () => {
  it.each<[string, string, RequestInit?]>([
    ["in the path", "/organizations/globex/secrets"],
    ["in the path, spelled otherwise", "/v1/orgs/gl%6Fbex"],
    ["in the query", "/x?org_id=globex"],
    ["in the query, the second of two", "/x?org_id=acme&org_id=globex"],
    ["in the query, nested", "/x?filter[organizationId]=globex"],
    ["in the query, as a list", "/x?organization_id[]=acme&organization_id[]=globex"],
    ["in a header", "/x", { headers: { "x-organization-id": "globex" } }],
    ["in the body", "/x", post('{"org_id":"globex"}')],
    ["in the body as organizationId", "/x", post('{"organizationId":"globex"}')],
    ["in the body as organisation_id", "/x", post('{"organisation_id":"globex"}')],
    ["in the body as ORG-ID", "/x", post('{"ORG-ID":"globex"}')],
    ["in the body, empty", "/x", post('{"org_id":""}')],
    ["in the body, as a number", "/x", post('{"org_id":7}')],
    ["in the body, nested", "/x", post('{"a":{"b":[{"orgId":"globex"}]}}')],
    ["in the body, in a list", "/x", post('{"org_id":["acme","globex"]}')],
    ["in the body, in a list of ids", "/x", post('{"organizationIds":["globex"]}')],
    ["in the body, as an object", "/x", post('{"organization":{"name":"x","id":"globex"}}')],
    ["in the body, as a list of objects", "/x", post('{"organization":[{"id":"globex"}]}')],
    ["in the body, the first of two", "/x", post('{"org_id":"globex","org_id":"acme"}')],
    ["in the body, the second of two", "/x", post('{"org_id":"acme","org_id":"globex"}')],
    ["in the body, spelled with an escape", "/x", post(String.raw`{"\u006frg_id":"globex"}`)],
    ["in the body, behind a byte order mark", "/x", post('\uFEFF{"org_id":"globex"}')],
    ["in the body, called text", "/x", post('{"org_id":"globex"}', "text/plain")],
    ["in a list at the top", "/x", post('[{"org_id":"globex"}]')],
    ["after text that looks like structure", "/x", post('{"a":"}],{\\"","org_id":"globex"}')],
    ["in a form", "/x", post("org_id=globex", "application/x-www-form-urlencoded")],
    ["in a form, twice", "/x", post("org_id=acme&org_id=globex", "application/x-www-form-urlencoded")],
    ["in a form of parts", "/x", multipart("org_id", "globex")],
  ])("is a violation %s", async (_where, path, init = {}) => {
    const token = await sign();
    const answer = await answerTo(request(token, path, init), guard.verifyRequest);
    expect(answer).toEqual({
      status: 403,
      body: '{"error":"org_scope_violation"}',
      headers: { "cache-control": "no-store", "content-type": "application/json" },
    });
    expect(guard.rejections).toMatchObject([
      { caller_identity: "user-1", rejection_reason: expect.stringMatching(/^org_scope_violation: /) },
    ]);
  });

  it.each<[string, string, RequestInit?]>([
    ["nothing", "/organizations"],
    ["its own", "/organizations/acme/x?org_id=acme", post('{"org_id":"acme","organization":{"id":"acme"}}')],
    ["a name", "/x", post('{"organization":"Globex","text":"org_id: globex"}')],
    ["null", "/x", post('{"org_id":null}')],
    ["what is no JSON", "/x", post('{"org_id":"globex"')],
  ])("is not meant by %s", async (_what, path, init = {}) => {
    expect(await guard.verifyRequest(request(await sign(), path, init))).not.toBeInstanceOf(Response);
  });

  it("is logged by its id, and by nothing that is none", async () => {
    const token = await sign();
    await guard.verifyRequest(request(token, "/x?org_id=globex"));
    await guard.verifyRequest(request(token, `/x?org_id=${encodeURIComponent("globex\n{}")}`));
    await guard.verifyRequest(request(undefined, "/x?org_id=globex&secret=s3cret"));
    expect(guard.rejections.map(({ attempted_org_id }) => attempted_org_id)).toEqual(["globex", "not an id", "globex"]);
    expect(guard.rejections[0]).toEqual({
      caller_identity: "user-1",
      attempted_org_id: "globex",
      rejection_reason: "org_scope_violation: another_organization",
      route: "GET /x",
      request_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      timestamp: NOW.toISOString(),
    });
    expect(JSON.stringify(guard.rejections)).not.toContain("s3cret");
  });
});
