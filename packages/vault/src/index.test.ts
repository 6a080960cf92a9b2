import { asOwner } from "@tributary/db/testing";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { type Database, openPglite, run } from "@tributary/db";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as published from "./index.ts";
import { CLIENT, type FakeProvider, json, reset, startFakeProvider } from "./testing/fake-provider.ts";
import {
  consentRequest,
  DUMP_TABLES,
  type Harness,
  HOST,
  ME,
  PERSON,
  SCOPE,
  SPEC,
  startHarness,
} from "./testing/harness.ts";

let database: Database;
let provider: FakeProvider;
let harness: Harness;
beforeAll(async () => {
  database = await openPglite();
  provider = await startFakeProvider();
  harness = await startHarness(database, provider);
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await database.close();
});

describe("what the vault gives out", () => {
  it("is this and nothing else", () => {
    expect(Object.keys(published).toSorted()).toEqual([
      "VaultError",
      "appendAudit",
      "createKeyFile",
      "createSealer",
      "jsonColumns",
      "migrations",
      "openAuditor",
      "openKeyKeeper",
      "openVault",
      "parseSignedHead",
    ]);
    const methods = [
      "accept",
      "acceptSubmission",
      "acceptWaiting",
      "beginConsent",
      "describe",
      "erase",
      "erasures",
      "forget",
      "integrationSecrets",
      "listClients",
      "open",
      "openForm",
      "purgeIntegrationSecrets",
      "putClient",
      "redeem",
      "removeClient",
      "renewDue",
      "storeIntegrationSecret",
      "sweep",
      "takeFlow",
      "verifyKey",
      "verifySignature",
    ];
    expect(Object.keys(harness.vault).toSorted()).toEqual(methods);
    expect(Object.getPrototypeOf(harness.vault)).toBe(Object.prototype);
    expect(Object.isFrozen(harness.vault)).toBe(true);
    expect(Object.keys(harness.vault.open(SCOPE, harness.use())).toSorted()).toEqual(["fetch", "revoke"]);
  });

  it("never holds a token, in no result, no error and no row", async () => {
    const { vault } = harness;
    const seen: unknown[] = [];
    const keep = async (work: Promise<unknown> | (() => Promise<unknown>)) => {
      await (typeof work === "function" ? work() : work).then(
        (value) => seen.push(value),
        (error: unknown) => seen.push(error),
      );
    };
    const session = () => vault.open(SCOPE, harness.use());
    const begin = async (query: Record<string, string> = {}) => {
      const { url } = await vault.beginConsent(consentRequest());
      return { contextId: "tasks", query: provider.consent(url, query), person: PERSON, organizationId: "acme" };
    };

    for (const query of [
      { code: "canary-code-wrong" },
      { error: "CANARY-canary-error" },
      { error: "access_denied", error_description: "canary-description" },
    ]) {
      const callback = await begin(query);
      await keep(async () => {
        const flow = await vault.takeFlow(callback);
        await vault.redeem(flow, flow.code);
      });
      await keep(vault.takeFlow({ ...callback, person: { ...PERSON, sessionHash: "other" } }));
    }
    const echo = { error: "invalid_grant", error_description: "canary-echoed", access_token: "canary-at-echoed" };
    const answers = [
      json(400, echo),
      json(200, { ...echo, error: undefined, token_type: 7 }),
      json(200, { access_token: "canary-at\n", token_type: "bearer" }),
      json(401, echo, { "www-authenticate": 'Basic realm="canary-realm"' }),
      json(503, echo),
      reset,
    ];
    for (const answer of answers) {
      const callback = await begin();
      const flow = await vault.takeFlow(callback);
      provider.tokenFaults.push({ answer });
      await keep(vault.redeem(flow, flow.code));
    }
    await keep(harness.link());
    await keep(vault.describe(SCOPE));
    await keep(session().fetch(ME));
    for (const answer of answers) {
      provider.expireAccess();
      provider.tokenFaults.push({ answer }, { answer });
      await keep(session().fetch(ME));
    }
    provider.routes.set("/v1/away", (_, response) =>
      response.writeHead(302, { location: "https://evil.example.com/?canary-leak" }).end(),
    );
    await keep(session().fetch(`https://${HOST}/v1/away`));
    provider.routes.set("/v1/reset", (_, response) => reset(response));
    const posted = { method: "POST", form: { note: "canary-form" }, headers: { "x-note": "canary-header" } } as const;
    await keep(session().fetch(`https://${HOST}/v1/reset`, { ...posted, query: { note: "canary-query" } }));
    await keep(session().fetch("https://evil.example.com/?canary-query"));
    provider.revocationFaults.push({ answer: json(503, echo) }, { answer: json(400, echo) });
    await keep(session().revoke());
    await keep(session().revoke());
    await keep(() => {
      const revocation = {
        method: "POST",
        url: `https://${HOST}/v1/broken`,
        form: { token: { secret: "refresh_token" } },
      } as const;
      provider.routes.set("/v1/broken", (_, response) => json(500, echo)(response));
      return vault.open(SCOPE, harness.use({ spec: { ...SPEC, revocation } })).revoke();
    });

    const dump = await Promise.all(
      DUMP_TABLES.map(async (table) =>
        asOwner(database, (tx) => run(tx, `SELECT t::text AS row FROM vault.${table} AS t`)),
      ),
    );
    expect(dump.flat().length).toBeGreaterThan(8);
    const errors = seen.filter((value) => value instanceof Error);
    expect(errors.length).toBeGreaterThan(15);
    const text = [dump, vault, session(), ...seen]
      .flatMap((value) => [
        inspect(value, { depth: 10, showHidden: true, maxArrayLength: null, maxStringLength: null }),
        JSON.stringify(value),
        value instanceof Error ? String(value.stack) : "",
      ])
      .join("\n");
    // What could be planted, plainly and in the encodings of the dump.
    expect(provider.issued.length).toBeGreaterThan(8);
    const forms = ["canary", CLIENT.clientSecret, ...provider.issued].flatMap((planted) => [
      planted,
      Buffer.from(planted).toString("hex"),
      Buffer.from(planted).toString("base64").replace(/=+$/, ""),
    ]);
    const found = forms.map((form) => text.indexOf(form)).filter((at) => at >= 0);
    expect(found.map((at) => text.slice(Math.max(0, at - 200), at + 100))).toEqual([]);
  });
});

describe("a change of keys", () => {
  it("goes on while credentials are in use, and leaves the old key without a use", async () => {
    provider.tokenFaults.length = 0;
    await harness.link();
    const fetchWith = async (keys: readonly Key[]) => {
      const vault = await harness.another({ keys: { value: JSON.stringify({ ...file, keys }) } });
      return (await vault.open(SCOPE, harness.use()).fetch(ME)).status;
    };
    interface Key {
      readonly id: string;
      readonly key: string;
    }
    const file = JSON.parse(readFileSync(harness.keyFile, "utf8")) as { readonly keys: readonly [Key] };
    const [old] = file.keys;
    const fresh = { id: "k-fresh", key: Buffer.alloc(32, 9).toString("base64url") };
    expect(await fetchWith([old, fresh])).toBe(200);
    expect(await fetchWith([fresh, old])).toBe(200);
    expect(await fetchWith([fresh])).toBe(200);
    await expect(fetchWith([old])).rejects.toMatchObject({ code: "key_missing" });
    expect(await fetchWith([old, fresh])).toBe(200);
  });
});

describe("a webhook's signature", () => {
  const body = Buffer.from('{"event":"item:completed"}');
  const sign = (secret: string) => new Uint8Array(createHmac("sha256", secret).update(body).digest());

  it("is valid when the client's secret made it, over these very bytes", async () => {
    const signature = sign(CLIENT.clientSecret);
    const verify = (context: string, bytes: Uint8Array, by: Uint8Array) =>
      harness.vault.verifySignature(context, "hmac-sha256", bytes, by).then((signed) => signed !== undefined);
    expect(await verify("tasks", body, signature)).toBe(true);
    expect(await verify("tasks", Buffer.concat([body, Buffer.from(" ")]), signature)).toBe(false);
    expect(await verify("tasks", body, sign("other"))).toBe(false);
    expect(await verify("tasks", body, signature.subarray(0, 31))).toBe(false);
    expect(await verify("tasks", body, new Uint8Array())).toBe(false);
    expect(await verify("unknown", body, sign("unknown"))).toBe(false);
    for (let bit = 0; bit < signature.length * 8; bit++) {
      const flipped = Uint8Array.from(signature);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(await verify("tasks", body, flipped)).toBe(false);
    }
  });

  it("cannot be made with an empty secret, because no client may have one", async () => {
    const clients = [{ contextId: "tasks", integration: "tasks", clientId: "id", clientSecret: "" }];
    await expect(harness.another({ clients })).rejects.toThrow(TypeError);
    const twice = [1, 2].map(() => ({ contextId: "tasks", integration: "tasks", clientId: "id", clientSecret: "s" }));
    await expect(harness.another({ clients: twice })).rejects.toThrow(TypeError);
  });
});
