import { connect, jwtAuthenticator, nkeys } from "@nats-io/transport-node";
import { EVENT_STREAM } from "@tributary/contracts";
import { createHash } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { natsConfig, natsPermissions, passwordVariable } from "./nats-permissions.ts";
import { type PrivateNats, startPrivateNats } from "./testing/private-nats.ts";
import { until } from "./testing/relay-stage.ts";

let nats: PrivateNats | undefined;
afterEach(() => nats?.stop());

type KeyPair = ReturnType<typeof nkeys.createUser>;
const base64 = (value: string | Uint8Array): string => Buffer.from(value).toString("base64url");

/** A claim as nats-server's operator mode reads it (JWT v2): signed with Ed25519, the issuer an nkey. */
function claim(by: KeyPair, of: KeyPair, claims: object, expiresAt?: number): string {
  const body = {
    jti: createHash("sha256").update(of.getPublicKey()).digest("hex"),
    iat: Math.floor(Date.now() / 1_000),
    iss: by.getPublicKey(),
    sub: of.getPublicKey(),
    name: "test",
    ...(expiresAt === undefined ? {} : { exp: expiresAt }),
    nats: claims,
  };
  const text = [{ typ: "JWT", alg: "ed25519-nkey" }, body].map((part) => base64(JSON.stringify(part))).join(".");
  return `${text}.${base64(by.sign(Buffer.from(text)))}`;
}

const ANY = { subs: -1, data: -1, payload: -1 };
const LIMITS = { ...ANY, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
const JETSTREAM = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };

describe("what ends a subscriber's connection to the broker", () => {
  it("is the end of its token, in operator mode: the broker says so, and lets it in no more", async () => {
    const [operator, account, system, user] = [
      nkeys.createOperator(),
      nkeys.createAccount(),
      nkeys.createAccount(),
      nkeys.createUser(),
    ];
    const accountClaims = { limits: { ...LIMITS, ...JETSTREAM }, type: "account", version: 2 };
    const accountJwt = claim(operator, account, accountClaims);
    const systemJwt = claim(operator, system, { limits: LIMITS, type: "account", version: 2 });
    const systemId = system.getPublicKey();
    nats = await startPrivateNats({
      config: `operator: ${claim(operator, operator, { type: "operator", version: 2, system_account: systemId })}
system_account: ${systemId}
resolver: MEMORY
resolver_preload: { ${account.getPublicKey()}: ${accountJwt}, ${systemId}: ${systemJwt} }
`,
    });
    const { publish, subscribe } = natsPermissions("acme", ["billing"]);
    const permissions = { pub: { allow: publish }, sub: { allow: subscribe } };
    const expiresAt = Math.floor(Date.now() / 1_000) + 6;
    const token = claim(account, user, { ...ANY, ...permissions, type: "user", version: 2 }, expiresAt);
    const nc = await connect({
      servers: nats.url,
      inboxPrefix: "_INBOX_acme",
      authenticator: jwtAuthenticator(token, user.getSeed()),
      maxReconnectAttempts: 2,
      reconnectTimeWait: 100,
    });
    const refused: string[] = [];
    void (async () => {
      for await (const status of nc.status()) if (status.type === "error") refused.push(status.error.message);
    })();
    nc.subscribe("evt.v1.acme.>");
    // The same permissions as in a configuration.
    await expect(nc.request(`$JS.API.STREAM.MSG.GET.${EVENT_STREAM}`, "{}", { timeout: 500 })).rejects.toThrow(
      /permission|timeout/i,
    );
    await until("the broker refuses", () => refused.some((one) => one.includes("STREAM.MSG.GET")));
    await until("the connection is closed for good", () => nc.isClosed());
    expect(Date.now() / 1_000).toBeGreaterThanOrEqual(expiresAt);
    expect(Date.now() / 1_000).toBeLessThan(expiresAt + 40);
  });

  it("is a reload that no longer names its user", async () => {
    const organizations = [
      { organizationId: "acme", consumers: ["billing"] },
      { organizationId: "globex", consumers: ["audit"] },
    ];
    const env = {
      TRIBUTARY_NATS_PASSWORD: "only-for-the-hub-0123456789",
      [passwordVariable("acme")]: "only-for-acme-0123456789",
      [passwordVariable("globex")]: "only-for-globex-0123456789",
    };
    nats = await startPrivateNats({ config: natsConfig(organizations), env });
    const as = (user: string) =>
      connect({
        servers: nats?.url ?? "",
        user,
        pass: `only-for-${user}-0123456789`,
        maxReconnectAttempts: 2,
        reconnectTimeWait: 100,
      });
    const [gone, stays] = [await as("acme"), await as("globex")];
    await nats.reload(natsConfig(organizations.slice(1)));
    await until("the connection is closed", () => gone.isClosed());
    await stays.flush();
    expect(stays.isClosed()).toBe(false);
    await stays.close();
  });
});
