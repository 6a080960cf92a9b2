import { connectors } from "@tributary/connectors";
import type { Database } from "@tributary/db";
import {
  createSealer,
  type CredentialScope,
  type KeySource,
  openVault,
  type Person,
  type Sealer,
  type Vault,
} from "@tributary/vault";
import { randomBytes, randomUUID } from "node:crypto";
import type { Sandbox } from "../src/sandbox.ts";

export interface Ground {
  readonly database: Database;
  readonly keys: KeySource;
  readonly origin: string;
  readonly sandbox: Sandbox;
  /** Every secret begins with it. */
  readonly tokenPrefix: string;
}

/** What the vault was given, by the road that it took. */
export interface Planted {
  readonly tokens: number;
  readonly integrationSecrets: number;
  readonly typedFields: number;
  /** Credentials that were opened for a request, and renewed once. */
  readonly used: number;
}

/** Of five secrets: an account linked by OAuth has two, a form that a person fills in has two, a setting is one. */
const SECRETS_A_ROUND = 5;
const ORGANIZATIONS = 10;
const AT_ONCE = 4;
/** Every so many links one is used, and renewed: the provider's own rate limit allows for no more. */
const USED_OF = 4;

/** Gives the vault secrets by every road there is, as another process of the same deployment. */
export async function plantSecrets(ground: Ground, secrets: number): Promise<Planted> {
  const vault = await openVault({
    database: ground.database,
    keys: ground.keys,
    clients: ground.sandbox.oauthClients.map((client) => ({ ...client, contextId: client.integration })),
    publicOrigin: ground.origin,
    origins: ground.sandbox.origins,
  });
  const sealer = createSealer({ database: ground.database, verifyKey: vault.verifyKey });
  const { oauth } = ground.sandbox.running.todoist.control;
  const [connector] = connectors;
  if (oauth === undefined || connector === undefined) throw new Error("there is nothing to link");
  const house: House = {
    vault,
    sealer,
    oauth,
    connector,
    value: () => ground.tokenPrefix + randomBytes(20).toString("hex"),
  };
  const rounds = Math.ceil(secrets / SECRETS_A_ROUND);
  const linked: CredentialScope[] = [];
  // Settings of one organisation are one credential, so those of a group are of different organisations.
  for (let first = 0; first < rounds; first += AT_ONCE) {
    const group = Array.from({ length: Math.min(AT_ONCE, rounds - first) }, (_, n) => plantRound(house, first + n));
    linked.push(...(await Promise.all(group)));
  }
  oauth.tokens.expire();
  const toUse = linked.filter((_scope, index) => index % USED_OF === 0);
  for (const scope of toUse) await use(house, scope);
  return { tokens: 2 * rounds, integrationSecrets: rounds, typedFields: 2 * rounds, used: toUse.length };
}

interface House {
  readonly vault: Vault;
  readonly sealer: Sealer;
  readonly oauth: NonNullable<Sandbox["running"]["todoist"]["control"]["oauth"]>;
  readonly connector: (typeof connectors)[number];
  /** A secret that nobody had before. */
  readonly value: () => string;
}

async function plantRound(house: House, index: number): Promise<CredentialScope> {
  const { vault, sealer, value } = house;
  const organizationId = `organisation-${index % ORGANIZATIONS}`;
  const person = { userId: `person-${index}`, sessionHash: randomBytes(32).toString("hex") };
  const owner = { kind: "user", id: person.userId } as const;
  const scope = { organizationId, integration: "todoist", owner, credentialId: randomUUID() };
  await link(house, scope, person);
  const setting = { organizationId, integration: "todoist", name: `setting-${index}`, actor: person.userId };
  await vault.storeIntegrationSecret({ ...setting, value: value() });
  const typed = { ...scope, integration: "typed", credentialId: randomUUID() };
  const ticket = await vault.openForm({ scope: typed, person, fields: ["username", "password"] });
  const submission = await sealer.submit({ ticket, person, values: { username: value(), password: value() } });
  await vault.acceptSubmission(organizationId, submission);
  await vault.accept(typed);
  return scope;
}

/** The whole road of consent, but for the provider's page: the person's answer is taken from behind it. */
async function link({ vault, oauth, connector }: House, scope: CredentialScope, person: Person): Promise<void> {
  const scopes = connector.scopes.map(({ id }) => id);
  const wish = { scope, person, spec: connector.auth, scopes, connectionId: randomUUID() };
  const asked = new URL((await vault.beginConsent(wish)).url).searchParams;
  const code = oauth.issueCode({
    clientId: asked.get("client_id") ?? "",
    redirectUri: asked.get("redirect_uri") ?? undefined,
    challenge: asked.get("code_challenge") ?? undefined,
    scopes,
    accountId: oauth.accounts[0]?.id ?? "",
  });
  const query = new URLSearchParams({ code, state: asked.get("state") ?? "" });
  const { organizationId, integration } = scope;
  const flow = await vault.takeFlow({ contextId: integration, query, person, organizationId });
  await vault.redeem(flow, flow.code);
  await vault.accept(scope);
}

/** A request with a token that has expired: it is opened, renewed, sealed and opened again. */
async function use({ vault, connector }: House, scope: CredentialScope): Promise<void> {
  const session = vault.open(scope, {
    spec: connector.auth,
    hosts: connector.manifest.hosts,
    purpose: "check",
    correlationId: randomUUID(),
    signal: AbortSignal.timeout(20_000),
  });
  const answer = await session.fetch("https://api.todoist.com/api/v1/user");
  await answer.body?.cancel();
  if (answer.status !== 200) throw new Error(`the provider refused a renewed token: ${answer.status}`);
}
