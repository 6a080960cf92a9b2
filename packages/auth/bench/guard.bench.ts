import { createSecretKey, randomUUID } from "node:crypto";
import { jwtVerify, SignJWT } from "jose";
import { createGuard, createServiceKeys, createTokens } from "../src/index.ts";

/**
 * The guard on a request with a token and a body of JSON: token, claims, permission, and the organisations that path,
 * query and body name. The ceiling is jose's own verification of the same tokens with the same checks. One core; making
 * the requests, which any server does, is in neither figure.
 */
const REQUESTS = 4_000;
const MS_MAX = 1;
const secret = "a secret of the bench, of more than 32 bytes";
const [issuer, audience] = ["https://id.example.com", "tributary"];
const body = JSON.stringify({ org_id: "acme", type: "task.complete", input: { id: "1", labels: ["a", "b"] } });

export default {
  name: "auth/guard",
  unit: "requests/s",
  async run({ log }: { readonly log: (line: string) => void }) {
    const tokens = await Promise.all(Array.from({ length: 50 }, (_, index) => sign(`user-${index}`)));
    const all = Array.from({ length: REQUESTS }, (_, index) => tokens[index % tokens.length] ?? "");
    const key = createSecretKey(Buffer.from(secret));
    const checks = { algorithms: ["HS256"], issuer, audience, requiredClaims: ["sub", "exp"] };
    const ceiling = await rate(all, async (token) => (await jwtVerify(token, key, checks)).payload.sub !== undefined);
    const { verifyRequest } = guard();
    const ours = await rate(
      all.map((token) => requestWith(token)),
      async (request) => !((await verifyRequest(request)) instanceof Response),
    );
    const ms = 1000 / ours;
    log(`the guard takes ${ms.toFixed(3)} ms a request`);
    if (ms > MS_MAX) throw new Error(`the guard took ${ms.toFixed(3)} ms, ${MS_MAX} ms at most`);
    return { ours, ceiling };
  },
};

const guard = () =>
  createGuard({
    serviceKeys: createServiceKeys([{ name: "scheduler", organizationId: "acme", key: "k".repeat(32) }]),
    tokens: createTokens({ issuer, audience, keys: { secret }, now: () => new Date() }),
    log: () => {},
    now: () => new Date(),
    uuid: randomUUID,
  });

const requestWith = (token: string): Request =>
  new Request("https://hub.example.com/functions/sync?org_id=acme", {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body,
  });

const sign = (sub: string): Promise<string> =>
  new SignJWT({ organization_id: "acme", app_metadata: { claims: { integration_admin: true } } })
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(sub)
    .setIssuer(issuer)
    .setAudience(audience)
    .setExpirationTime("1h")
    .sign(Buffer.from(secret));

/** How many a second; every one must be let through. */
async function rate<T>(all: readonly T[], letIn: (one: T) => Promise<boolean>): Promise<number> {
  const start = performance.now();
  for (const one of all) if (!(await letIn(one))) throw new Error("a good token was refused");
  return (all.length / (performance.now() - start)) * 1000;
}
