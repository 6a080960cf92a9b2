import { randomBytes, timingSafeEqual } from "node:crypto";
import { and, asc, eq, isNull, sql } from "drizzle-orm";
import { acrossOrganizations } from "@tributary/db";
import { VaultError } from "./errors.ts";
import { readGrant, writeGeneration } from "./grants.ts";
import { inOrganization, type VaultParts } from "./parts.ts";
import { form, inbox } from "./schema.ts";
import { contextBytes, openDataKey, openSecret, unwrap, wipe, wrap } from "./seal.ts";
import { openingKey, sealingKey } from "./subject-keys.ts";
import { FIELDS_MAX, SubmissionContent, submissionContext } from "./submission.ts";
import type { CredentialScope, FormRequest, FormTicket, Grant } from "./vault.ts";

/** How long a person may take to fill a form. */
const FORM_MS = 600_000;
const NONCE_BYTES = 32;
const ATTEMPTS = 5;

type FormRow = typeof form.$inferSelect;
type InboxRow = typeof inbox.$inferSelect;

/** Opens a form: a nonce that lets one submission in, and a key for its owner to seal it to. */
export async function openForm(parts: VaultParts, request: FormRequest): Promise<FormTicket> {
  const { scope, person, fields } = request;
  if (fields.length === 0 || fields.length > FIELDS_MAX) throw new TypeError(`a form has 1 to ${FIELDS_MAX} fields`);
  await sealingKey(parts.database, parts.ring, scope, parts.randomUUID);
  const secret = randomBytes(NONCE_BYTES);
  const kekId = parts.ring.newestId;
  const bound: Omit<FormRow, "nonce" | "wrapped"> = {
    id: parts.randomUUID(),
    organizationId: scope.organizationId,
    userId: person.userId,
    sessionHash: person.sessionHash,
    integration: scope.integration,
    ownerKind: scope.owner.kind,
    ownerId: scope.owner.id,
    credentialId: scope.credentialId,
    fields: JSON.stringify(fields.toSorted()),
    kekId,
    expiresAt: new Date(parts.now().getTime() + FORM_MS),
  };
  // Encrypted, so that who reads the table cannot submit; authenticated, so that who writes it cannot either.
  const wrapped = wrap(secret, formContext(bound), parts.ring.key(kekId));
  const nonce = secret.toString("base64url");
  wipe(secret);
  await inOrganization(parts, scope, (tx) => tx.insert(form).values({ ...bound, ...wrapped }));
  return { formId: bound.id, nonce, scope, expiresAt: bound.expiresAt };
}

/**
 * Takes a submission out of the inbox and makes it the credential's next generation, not yet accepted for a connection.
 * What is not as the form asked for it is quarantined: its ciphertext goes, and a record of the attempt stays.
 * @throws VaultError submission_refused (`detail` says why) · credential_missing when there is no such submission.
 */
export async function acceptSubmission(
  parts: VaultParts,
  organizationId: string,
  submissionId: string,
): Promise<Grant> {
  const here = { organizationId };
  const [row] = await inOrganization(parts, here, (tx) =>
    tx
      .select()
      .from(inbox)
      .where(and(eq(inbox.organizationId, organizationId), eq(inbox.id, submissionId), isNull(inbox.quarantinedAt))),
  );
  if (row === undefined) throw new VaultError("credential_missing", "there is no such submission");
  const [asked] = await inOrganization(parts, here, (tx) =>
    tx
      .select()
      .from(form)
      .where(and(eq(form.organizationId, organizationId), eq(form.id, row.formId))),
  );
  const judged = asked === undefined ? "form_unknown" : await judge(parts, row, asked);
  if (asked === undefined || typeof judged === "string")
    return quarantine(parts, row, typeof judged === "string" ? judged : "form_unknown");
  const grant = await write(parts, row, asked, judged);
  return grant ?? quarantine(parts, row, "form_used");
}

/** Takes what waits in all inboxes: for a vault that runs in another process than the forms. @returns how many were accepted and refused. */
export async function acceptWaiting(
  parts: VaultParts,
  limit: number,
): Promise<{ readonly accepted: number; readonly refused: number }> {
  const waiting = await acrossOrganizations(parts.database, "keeper", (tx) =>
    tx
      .select({ id: inbox.id, organizationId: inbox.organizationId })
      .from(inbox)
      .where(isNull(inbox.quarantinedAt))
      .orderBy(asc(inbox.submittedAt))
      .limit(limit),
  );
  let accepted = 0;
  for (const { id, organizationId } of waiting)
    await acceptSubmission(parts, organizationId, id).then(
      () => accepted++,
      (error: unknown) => {
        if (!(error instanceof VaultError)) throw error;
      },
    );
  return { accepted, refused: waiting.length - accepted };
}

/** @returns what was typed, by field; or why it is refused. */
async function judge(parts: VaultParts, row: InboxRow, asked: FormRow): Promise<Map<string, string> | string> {
  if (asked.expiresAt.getTime() <= parts.now().getTime()) return "form_expired";
  const kek = parts.ring.ids.includes(asked.kekId) ? parts.ring.key(asked.kekId) : undefined;
  const secret = kek && unwrap(asked, formContext(asked), kek);
  if (secret === undefined) return "form_forged";
  if (row.userId !== asked.userId || row.sessionHash !== asked.sessionHash) return "other_person";
  const same =
    row.integration === asked.integration &&
    row.ownerKind === asked.ownerKind &&
    row.ownerId === asked.ownerId &&
    row.credentialId === asked.credentialId;
  if (!same) return "other_credential";
  const content = await openSubmission(parts, row);
  if (content === undefined) return "not_sealed_for_it";
  const given = Buffer.from(content.nonce, "base64url");
  if (given.length !== secret.length || !timingSafeEqual(given, secret)) return "nonce_wrong";
  if (JSON.stringify(Object.keys(content.values).toSorted()) !== asked.fields) return "fields_wrong";
  return new Map(Object.entries(content.values));
}

async function openSubmission(parts: VaultParts, row: InboxRow): Promise<SubmissionContent | undefined> {
  const { alg, nonce, ciphertext, sealed } = row;
  if (ciphertext === null || sealed === null) return undefined;
  const scope = scopeOf(row);
  const address = { submissionId: row.id, formId: row.formId, scope, person: row };
  const context = submissionContext(address, row.keyId);
  try {
    const { privateKey } = await openingKey(parts.database, parts.ring, scope, row.keyId);
    const dataKey = openDataKey({ alg, nonce, ciphertext, sealed }, context, privateKey);
    wipe(privateKey);
    if (dataKey === undefined) return undefined;
    const bytes = openSecret({ alg, nonce, ciphertext, sealed }, context, dataKey);
    wipe(dataKey);
    if (bytes === undefined) return undefined;
    const text = Buffer.from(bytes).toString("utf8");
    wipe(bytes);
    return SubmissionContent.safeParse(JSON.parse(text)).data;
  } catch (error) {
    if (error instanceof VaultError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** One transaction: the credential, and the end of the form that let it in. @returns undefined when the form was used meanwhile. */
async function write(
  parts: VaultParts,
  row: InboxRow,
  asked: FormRow,
  fields: ReadonlyMap<string, string>,
): Promise<Grant | undefined> {
  const scope = scopeOf(asked);
  const tokens = { fields, scopes: undefined, expiresInSeconds: undefined };
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    let used = false;
    const current = await readGrant(parts, scope);
    const grant = await writeGeneration(parts, scope, current, tokens, [], async (tx) => {
      const [consumed] = await tx
        .delete(form)
        .where(and(eq(form.organizationId, asked.organizationId), eq(form.id, asked.id)))
        .returning({ id: form.id });
      used = consumed === undefined;
      await tx.delete(inbox).where(and(eq(inbox.organizationId, row.organizationId), eq(inbox.id, row.id)));
      return !used;
    });
    if (grant !== undefined || used) return grant;
  }
  throw new VaultError("credential_missing", "the credential belongs to somebody else, or changes too fast");
}

async function quarantine(parts: VaultParts, row: InboxRow, reason: string): Promise<never> {
  await inOrganization(parts, row, (tx) =>
    tx
      .update(inbox)
      .set({ quarantinedAt: sql`now()`, reason, ciphertext: null, sealed: null })
      .where(and(eq(inbox.organizationId, row.organizationId), eq(inbox.id, row.id), isNull(inbox.quarantinedAt))),
  );
  throw new VaultError("submission_refused", "what was submitted is not what a form of this hub asked for", reason);
}

const scopeOf = (row: FormRow | InboxRow): CredentialScope => ({
  organizationId: row.organizationId,
  integration: row.integration,
  owner: { kind: row.ownerKind, id: row.ownerId },
  credentialId: row.credentialId,
});

const formContext = (row: Omit<FormRow, "nonce" | "wrapped">): Uint8Array =>
  contextBytes(
    "vault/v1",
    "form",
    row.id,
    row.organizationId,
    row.userId,
    row.sessionHash,
    row.integration,
    row.ownerKind,
    row.ownerId,
    row.credentialId,
    row.fields,
    row.kekId,
    row.expiresAt.toISOString(),
  );
