import { hash } from "node:crypto";
import { acrossOrganizations } from "@tributary/db";
import { eq } from "drizzle-orm";
import type { OAuth2Spec } from "@tributary/sdk";
import { VaultError } from "./errors.ts";
import { partyOf } from "./clients.ts";
import { authorizationUrl, newState, newVerifier, safeCode } from "./oauth.ts";
import { inOrganization, type VaultParts } from "./parts.ts";
import { flow } from "./schema.ts";
import { contextBytes, unwrap, wipe, wrap } from "./seal.ts";
import { parseTerms, type Terms, termsText } from "./terms.ts";
import { fillSpec } from "./url-template.ts";
import type { ConsentCallback, ConsentFlow, ConsentRequest } from "./vault.ts";

/** How long a person may take at the provider. */
const FLOW_MS = 600_000;
const CODE_CHARACTERS_MAX = 8192;

/** What redeeming a flow needs and its holder must not see. */
export interface FlowSecrets {
  readonly terms: Terms;
  readonly scopes: readonly string[];
  readonly verifier: string;
}

type FlowRow = typeof flow.$inferSelect;

export async function beginFlow(
  parts: VaultParts,
  request: ConsentRequest,
): Promise<{ url: string; flowId: string; expiresAt: Date }> {
  const { scope, person, values = {} } = request;
  const [state, verifier, id] = [newState(), newVerifier(), parts.randomUUID()];
  const spec = fillSpec(request.spec, values);
  const choice = { ...scope, contextId: request.contextId };
  const party = await partyOf(parts, choice, spec, { purpose: "consent", correlationId: id });
  const kekId = parts.ring.newestId;
  const bound: Omit<FlowRow, "nonce" | "verifier"> = {
    id,
    stateHash: hashOf(state),
    contextId: party.client.contextId,
    organizationId: scope.organizationId,
    userId: person.userId,
    sessionHash: person.sessionHash,
    integration: scope.integration,
    ownerKind: scope.owner.kind,
    ownerId: scope.owner.id,
    credentialId: scope.credentialId,
    connectionId: request.connectionId,
    spec: termsText(spec, values),
    scopes: JSON.stringify(request.scopes),
    kekId,
    expiresAt: new Date(parts.now().getTime() + FLOW_MS),
  };
  const { nonce, wrapped } = wrap(Buffer.from(verifier), flowContext(bound), parts.ring.key(kekId));
  await inOrganization(parts, scope, (tx) => tx.insert(flow).values({ ...bound, nonce, verifier: wrapped }));
  const authorization = { state, scopes: request.scopes, parameters: request.parameters ?? {} };
  const url = parts.outbound.mapUrl(await authorizationUrl(party, authorization, verifier));
  return { url: url.href, flowId: bound.id, expiresAt: bound.expiresAt };
}

/**
 * Consumes the flow first and judges afterwards: whatever is wrong with a callback, its state is of no more use.
 * Everything that the row says is authenticated, so a row edited in the database is no flow either.
 */
export async function takeFlow(
  parts: VaultParts,
  callback: ConsentCallback,
): Promise<{ readonly flow: ConsentFlow; readonly secrets: FlowSecrets }> {
  const states = callback.query.getAll("state");
  const [state] = states;
  if (state === undefined || states.length > 1) throw invalidState();
  const row = await consume(parts, state);
  if (row === undefined || row.expiresAt.getTime() <= parts.now().getTime()) throw invalidState();
  const key = parts.ring.ids.includes(row.kekId) ? parts.ring.key(row.kekId) : undefined;
  const verifier = key && unwrap({ nonce: row.nonce, wrapped: row.verifier }, flowContext(row), key);
  if (verifier === undefined) throw invalidState();
  try {
    assertSameBrowser(row, callback);
    const { contextId, organizationId, integration, credentialId } = row;
    const terms = { contextId, ...parseTerms(row.spec) };
    const code = codeOf(callback.query, terms.spec);
    const scope = { organizationId, integration, owner: { kind: row.ownerKind, id: row.ownerId }, credentialId };
    return {
      flow: { flowId: row.id, scope, connectionId: row.connectionId, contextId, code },
      secrets: { terms, scopes: JSON.parse(row.scopes) as string[], verifier: Buffer.from(verifier).toString() },
    };
  } finally {
    wipe(verifier);
  }
}

/** Across organisations on purpose: a state that comes back to the wrong one is used up as well. */
async function consume(parts: VaultParts, state: string): Promise<FlowRow | undefined> {
  const [taken] = await acrossOrganizations(parts.database, "keeper", (tx) =>
    tx
      .delete(flow)
      .where(eq(flow.stateHash, hashOf(state)))
      .returning(),
  );
  return taken;
}

function assertSameBrowser(row: FlowRow, { person, organizationId, contextId }: ConsentCallback): void {
  const same =
    row.userId === person.userId &&
    row.sessionHash === person.sessionHash &&
    row.organizationId === organizationId &&
    row.contextId === contextId;
  if (!same)
    throw new VaultError("oauth_session_mismatch", "the consent was begun by another person, session or context");
}

/** Judges the answer's parameters (RFC 6749 §4.1.2, RFC 9207 §2.4). */
function codeOf(query: URLSearchParams, spec: OAuth2Spec): string {
  const names = [...query.keys()];
  // RFC 6749 §3.1: parameters must not be included more than once.
  if (new Set(names).size !== names.length) throw invalidState();
  if (!isIssuer(query.get("iss"), spec))
    throw new VaultError("oauth_issuer_mismatch", "the answer does not name the provider that was asked");
  const error = query.get("error");
  if (error === "access_denied") throw new VaultError("oauth_denied", "consent was declined", error);
  if (error !== null)
    throw new VaultError("oauth_provider_error", "the provider refused the request for consent", safeCode(error));
  const code = query.get("code");
  if (code === null || code === "" || code.length > CODE_CHARACTERS_MAX)
    throw new VaultError("oauth_provider_error", "the provider's answer has no usable code");
  return code;
}

/**
 * A provider that promises to name itself must do so, exactly. Of one that promised nothing, an answer may name nobody;
 * when it names somebody all the same, that must be where the browser was sent, or where the code is going (RFC 9207
 * §2.4 leaves it to local policy).
 */
function isIssuer(iss: string | null, spec: OAuth2Spec): boolean {
  if (spec.issuer !== undefined) return iss === spec.issuer;
  if (iss === null) return true;
  const origin = URL.parse(iss)?.origin;
  return [spec.authorizationUrl, spec.tokenUrl].some((url) => new URL(url).origin === origin);
}

const flowContext = (row: Omit<FlowRow, "nonce" | "verifier">): Uint8Array =>
  contextBytes(
    "vault/v1",
    "flow",
    row.id,
    row.stateHash,
    row.contextId,
    row.organizationId,
    row.userId,
    row.sessionHash,
    row.integration,
    row.ownerKind,
    row.ownerId,
    row.credentialId,
    row.connectionId,
    row.spec,
    row.scopes,
    row.kekId,
    row.expiresAt.toISOString(),
  );

const hashOf = (state: string): Uint8Array => hash("sha256", state, "buffer");

const invalidState = (): VaultError =>
  new VaultError("oauth_state_invalid", "the consent is unknown, used or expired: start again");
