import { createHmac, generateKeyPairSync } from "node:crypto";
import { exportJWK, SignJWT, UnsecuredJWT } from "jose";
import { beforeEach, describe, expect, it } from "vitest";
import { createServiceKeys, createTokens } from "./index.ts";
import {
  answerTo,
  AUDIENCE,
  type Change,
  claims,
  guardWith,
  ISSUER,
  KEY,
  NEXT_KEY,
  NOW,
  post,
  request,
  SECONDS,
  SECRET,
  sign,
} from "./testing/issuer.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

let guard: ReturnType<typeof guardWith>;
beforeEach(() => {
  guard = guardWith();
});

const INVALID = {
  status: 401,
  body: '{"error":"invalid_token"}',
  headers: {
    "cache-control": "no-store",
    "content-type": "application/json",
    "www-authenticate": 'Bearer error="invalid_token"',
  },
};

describe("the guard", () => {
  it("lets an administrator of the organisation through, and tells who it is", async () => {
    const asked = request(
      await sign(),
      "/functions/sync?org_id=acme",
      post('{"org_id":"acme","nested":[{"orgId":"acme"}]}'),
    );
    expect(await guard.verifyRequest(asked)).toEqual({
      userId: "user-1",
      orgId: "acme",
      isServiceRole: false,
      identity: expect.objectContaining({
        kind: "user",
        permissions: expect.arrayContaining(["integrations.credentials"]),
      }),
    });
    expect(await asked.json()).toMatchObject({ org_id: "acme" });
    expect(guard.rejections).toEqual([]);
  });

  it.each([KEY, NEXT_KEY])("accepts a service's key, the old one and the new one", async (key) => {
    expect(await guard.verifyRequest(request(key))).toMatchObject({
      userId: "service_role",
      orgId: "acme",
      isServiceRole: true,
    });
  });

  it("says of a body too large to look through that it is that, and no word of organisations", async () => {
    const body = `{"a":"${"x".repeat(1024 * 1024)}"}`;
    expect(await answerTo(request(KEY, "/x", post(body)), guard.verifyRequest)).toMatchObject({
      status: 413,
      body: '{"error":"payload_too_large"}',
    });
    expect(guard.rejections).toMatchObject([{ rejection_reason: "payload_too_large: body_not_looked_through" }]);
  });

  it("holds a service to its own organisation and its own permissions", async () => {
    expect(await answerTo(request(KEY, "/x?org_id=globex"), guard.verifyRequest)).toMatchObject({
      status: 403,
      body: '{"error":"org_scope_violation"}',
    });
    expect(await answerTo(request("r".repeat(32)), guard.verifyRequest)).toMatchObject({
      status: 403,
      body: '{"error":"insufficient_permissions"}',
    });
    expect(guard.rejections.map(({ caller_identity }) => caller_identity)).toEqual(["service_role", "service_role"]);
  });

  it.each([[undefined], [""]])("misses an authorisation that is %j", async (authorization) => {
    const asked = request(undefined, "/x", authorization === undefined ? {} : { headers: { authorization } });
    expect(await answerTo(asked, guard.verifyRequest)).toEqual({
      status: 401,
      body: '{"error":"missing_authorization"}',
      headers: { "cache-control": "no-store", "content-type": "application/json", "www-authenticate": "Bearer" },
    });
  });

  it.each<[string, Change]>([
    ["absent", { app_metadata: undefined }],
    ["null", { app_metadata: null }],
    ["without claims", { app_metadata: {} }],
    ["false", { app_metadata: { claims: { integration_admin: false } } }],
    ["the text true", { app_metadata: { claims: { integration_admin: "true" } } }],
    ["the number 1", { app_metadata: { claims: { integration_admin: 1 } } }],
    ["a list", { app_metadata: { claims: { integration_admin: [true] } } }],
    [
      "the user's own word",
      { app_metadata: {}, user_metadata: { claims: { integration_admin: true }, integration_admin: true } },
    ],
    ["at the top", { app_metadata: {}, integration_admin: true }],
    ["one level too high", { app_metadata: { integration_admin: true } }],
  ])("refuses an integration_admin that is %s", async (_what, change) => {
    const answer = await answerTo(request(await sign(change)), guard.verifyRequest);
    expect(answer).toMatchObject({ status: 403, body: '{"error":"insufficient_permissions"}' });
    expect(guard.rejections).toMatchObject([{ caller_identity: "user-1" }]);
  });
});

const hmac = (header: Change, payload: Change, secret: string | Buffer, digest = "sha256"): string => {
  const signed = `${part(header)}.${part(payload)}`;
  return `${signed}.${createHmac(digest, secret).update(signed).digest("base64url")}`;
};
const publicPem = rsa.publicKey.export({ type: "spki", format: "pem" }).toString();
const signRsa = (alg = "RS256"): Promise<string> =>
  new SignJWT(claims).setProtectedHeader({ alg, kid: "rsa" }).sign(rsa.privateKey);

const BAD_TOKENS: readonly (readonly [string, () => string | Promise<string>])[] = [
  ["not a token", () => "x"],
  ["two parts", async () => (await sign()).split(".").slice(0, 2).join(".")],
  ["four parts", async () => `${await sign()}.x`],
  ["five parts", () => "a.b.c.d.e"],
  ["no signature", async () => (await sign()).replace(/[^.]+$/, "")],
  ["alg none", () => new UnsecuredJWT(claims).encode()],
  ["alg None with a signature", () => hmac({ alg: "None" }, claims, SECRET)],
  ["no alg", () => hmac({}, claims, SECRET)],
  ["a header that is no object", () => `${part([])}.${part(claims)}.${part("x")}`],
  ["HS512", () => hmac({ alg: "HS512" }, claims, SECRET, "sha512")],
  ["HS384", () => hmac({ alg: "HS384" }, claims, SECRET, "sha384")],
  ["RS256, where a secret is expected", () => signRsa()],
  [
    "ES256, where a secret is expected",
    () => new SignJWT(claims).setProtectedHeader({ alg: "ES256" }).sign(ec.privateKey),
  ],
  ["another secret", () => sign({}, {}, "another secret, of more than 32 bytes, too")],
  ["an empty secret", () => hmac({ alg: "HS256" }, claims, "")],
  [
    "an altered payload",
    async () => (await sign()).replace(/\.[^.]+\./, `.${part({ ...claims, organization_id: "globex" })}.`),
  ],
  ["an unknown crit", () => hmac({ alg: "HS256", crit: ["x"], x: 1 }, claims, SECRET)],
  ["b64 false", () => hmac({ alg: "HS256", crit: ["b64"], b64: false }, claims, SECRET)],
  ["expired", () => sign({ exp: SECONDS - 6 })],
  ["no exp", () => sign({ exp: undefined })],
  ["exp as text", () => hmac({ alg: "HS256" }, { ...claims, exp: String(SECONDS + 600) }, SECRET)],
  ["not yet valid", () => sign({ nbf: SECONDS + 6 })],
  ["another issuer", () => sign({ iss: "https://evil.example.com" })],
  ["no issuer", () => sign({ iss: undefined })],
  ["another audience", () => sign({ aud: "somebody" })],
  ["no audience", () => sign({ aud: undefined })],
  ["no sub", () => sign({ sub: undefined })],
  ["an empty sub", () => sign({ sub: "" })],
  ["a sub that is a number", () => hmac({ alg: "HS256" }, { ...claims, sub: 7 }, SECRET)],
  ["a sub of two lines", () => sign({ sub: "a\nb" })],
  ["no organisation", () => sign({ organization_id: undefined })],
  ["an organisation that is a number", () => hmac({ alg: "HS256" }, { ...claims, organization_id: 7 }, SECRET)],
  [
    "two organisations",
    () => sign({ app_metadata: { claims: { integration_admin: true, organization_id: "globex" } } }),
  ],
  ["app_metadata that is text", () => sign({ app_metadata: "integration_admin" })],
  [
    "a payload that is a list",
    () =>
      `${part({ alg: "HS256" })}.${part([claims])}.${createHmac("sha256", SECRET)
        .update(`${part({ alg: "HS256" })}.${part([claims])}`)
        .digest("base64url")}`,
  ],
  ["a token of 9 KiB", () => sign({ padding: "x".repeat(9 * 1024) })],
  ["a token of 8 MB", () => "x".repeat(8_000_000)],
  ["a key that is almost ours", () => `${KEY}x`],
];

describe("a bad token", () => {
  it.each(BAD_TOKENS)("is answered with the same bytes as every other: %s", async (_what, make) => {
    const token = await make();
    const asked = request(token);
    const start = performance.now();
    expect(await answerTo(asked, guard.verifyRequest)).toEqual(INVALID);
    // Seconds tell of work that grows with the square of the token, and of no machine that stands still for a moment.
    expect(performance.now() - start).toBeLessThan(5_000);
    expect(guard.rejections).toHaveLength(1);
    const logged = JSON.stringify(guard.rejections);
    for (const piece of token.split(".").filter((one) => one.length > 12)) expect(logged).not.toContain(piece);
  });

  it.each(["Basic dXNlcjpwYXNz", "Bearer", "Bearer  x", "bearer\tx", `Token ${KEY}`, `Bearer ${KEY}, Bearer ${KEY}`])(
    "is what a header like %j carries",
    async (authorization) => {
      expect(await answerTo(request(undefined, "/x", { headers: { authorization } }), guard.verifyRequest)).toEqual(
        INVALID,
      );
    },
  );

  it("is logged with its subject only when its signature held", async () => {
    await guard.verifyRequest(request(await sign({ exp: SECONDS - 60 })));
    await guard.verifyRequest(request(await sign({ sub: "forged" }, {}, "another secret, of more than 32 bytes, too")));
    expect(
      guard.rejections.map(({ caller_identity, rejection_reason }) => [caller_identity, rejection_reason]),
    ).toEqual([
      ["user-1", "invalid_token: expired"],
      ["unknown", "invalid_token: signature"],
    ]);
  });

  it("is forgiven five seconds of another clock, and no more", async () => {
    expect(await guard.verifyRequest(request(await sign({ exp: SECONDS - 4, nbf: SECONDS + 4 })))).not.toBeInstanceOf(
      Response,
    );
    expect(await guard.verifyRequest(request(await sign({ exp: SECONDS - 5 })))).toBeInstanceOf(Response);
  });
});

describe("published keys", () => {
  let fetched: number;
  let now: number;
  let down: boolean;
  beforeEach(() => {
    [fetched, now, down] = [0, NOW.getTime(), false];
  });
  const published = async (input: unknown): Promise<Response> => {
    fetched += 1;
    expect(String(input)).toBe("https://id.example.com/keys");
    if (down) throw new TypeError("fetch failed");
    const keys = [
      { ...(await exportJWK(rsa.publicKey)), kid: "rsa", alg: "RS256" },
      { ...(await exportJWK(ec.publicKey)), kid: "ec", alg: "ES256" },
    ];
    return Response.json({ keys });
  };
  const verifier = () =>
    guardWith({ keySetUrl: "https://id.example.com/keys" }, { now: () => new Date(now), fetch: published })
      .verifyRequest;
  const signEc = (kid = "ec"): Promise<string> =>
    new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid }).sign(ec.privateKey);
  const UNAVAILABLE = { status: 503, body: '{"error":"auth_unavailable"}' };

  it("verify RS256 and ES256, and are asked for once", async () => {
    const verify = verifier();
    const tokens = [await signRsa(), await signEc(), await signRsa()];
    const answers = await Promise.all(tokens.map((token) => verify(request(token))));
    expect(answers.map((answer) => answer instanceof Response)).toEqual([false, false, false]);
    expect(fetched).toBe(1);
  });

  it.each<[string, () => string | Promise<string>]>([
    ["HS256 with the public key as its secret", () => hmac({ alg: "HS256", kid: "rsa" }, claims, publicPem)],
    ["HS256 with the issuer's secret", () => sign()],
    ["PS256", () => signRsa("PS256")],
    ["RS512", () => signRsa("RS512")],
    ["an unknown key id", () => signEc("other")],
    ["the other key's id", () => signEc("rsa")],
    ["alg none", () => new UnsecuredJWT(claims).encode()],
    [
      "a key that it brings itself",
      async () =>
        new SignJWT(claims)
          .setProtectedHeader({ alg: "ES256", jwk: await exportJWK(ec.publicKey), kid: "own" })
          .sign(ec.privateKey),
    ],
  ])("refuse %s", async (_what, make) => {
    expect(await answerTo(request(await make()), verifier())).toEqual(INVALID);
  });

  it("are asked for at most once in 30 seconds, whatever key ids arrive", async () => {
    const verify = verifier();
    for (let index = 0; index < 1000; index++) {
      now += 29;
      expect((await answerTo(request(await signEc(`kid-${index}`)), verify)).status).toBe(401);
    }
    expect(fetched).toBe(1);
    now += 30_000;
    await verify(request(await signEc("another")));
    expect(fetched).toBe(2);
  });

  it("that cannot be had are our trouble, not the token's", async () => {
    down = true;
    const verify = verifier();
    for (let index = 0; index < 100; index++)
      expect(await answerTo(request(await signEc()), verify)).toMatchObject(UNAVAILABLE);
    expect(fetched).toBe(1);
    down = false;
    now += 30_001;
    expect(await verify(request(await signEc()))).not.toBeInstanceOf(Response);
  });

  it("are believed for an hour when the issuer falls silent; new ones are not called wrong meanwhile", async () => {
    const verify = verifier();
    await verify(request(await signEc()));
    down = true;
    const stillValid = () =>
      new SignJWT({ ...claims, exp: SECONDS + 9000 })
        .setProtectedHeader({ alg: "ES256", kid: "ec" })
        .sign(ec.privateKey);
    now += 3_000_000;
    expect(await verify(request(await stillValid()))).not.toBeInstanceOf(Response);
    now += 31_000;
    expect(await answerTo(request(await signEc("new")), verify)).toMatchObject(UNAVAILABLE);
    now += 600_000;
    expect(await answerTo(request(await stillValid()), verify)).toMatchObject(UNAVAILABLE);
  });
});

describe("a guard is not made", () => {
  it.each<[string, () => unknown]>([
    [
      "with a secret of 31 bytes",
      () => createTokens({ issuer: ISSUER, audience: AUDIENCE, keys: { secret: "s".repeat(31) }, now: () => NOW }),
    ],
    [
      "with keys that travel in the clear",
      () =>
        createTokens({
          issuer: ISSUER,
          audience: AUDIENCE,
          keys: { keySetUrl: "http://id.example.com/keys" },
          now: () => NOW,
        }),
    ],
    [
      "with three keys of one service",
      () =>
        createServiceKeys(["a", "b", "c"].map((one) => ({ name: "x", organizationId: "acme", key: one.repeat(32) }))),
    ],
    [
      "with one name for two organisations",
      () => createServiceKeys(["a", "b"].map((one) => ({ name: "x", organizationId: one, key: one.repeat(32) }))),
    ],
  ])("%s", (_what, make) => {
    expect(make).toThrow(TypeError);
  });
});
