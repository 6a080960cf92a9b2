import { acrossOrganizations, type Database, run } from "@tributary/db";
import { z } from "zod";
import type { KeyRing } from "./keys.ts";
import { contextBytes, isSignedContext, signContext } from "./seal.ts";

/**
 * Where an organisation's chain ended at some moment, signed. Kept outside the database, it is what a chain that was cut
 * at its end, or written anew from the beginning, is told by.
 */
export interface SignedHead {
  readonly organizationId: string;
  readonly sequence: number;
  /** Of the last entry; ISO 8601. */
  readonly at: string;
  /** Of the last entry; hexadecimal. */
  readonly hash: string;
  /** Ed25519 by the vault's signing key, base64url. */
  readonly signature: string;
}

const signedHead = z.strictObject({
  organizationId: z.string().min(1),
  sequence: z.int().min(1),
  at: z.iso.datetime(),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  signature: z.string().max(128),
});

/** Reads one head, as `JSON.stringify` wrote it. @returns undefined for anything else. */
export function parseSignedHead(text: string): SignedHead | undefined {
  try {
    return signedHead.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Signs where every chain ends now, or one organisation's. */
export async function signedHeads(database: Database, ring: KeyRing, organizationId?: string): Promise<SignedHead[]> {
  const rows = await acrossOrganizations(database, "keeper", (tx) =>
    run<{ id: string; sequence: bigint; at: string; hash: Uint8Array }>(tx, HEADS, [organizationId ?? null]),
  );
  return rows.map(({ id, sequence, at, hash }) => {
    const head = {
      organizationId: id,
      sequence: Number(sequence),
      at: new Date(at).toISOString(),
      hash: Buffer.from(hash).toString("hex"),
    };
    const signature = signContext(headContext(head), ring.signingSeed);
    return { ...head, signature: Buffer.from(signature).toString("base64url") };
  });
}

/** Whether this vault signed a head. */
export const isSignedHead = (head: SignedHead, verifyKey: Uint8Array): boolean =>
  isSignedContext(headContext(head), Buffer.from(head.signature, "base64url"), verifyKey);

const headContext = ({ organizationId, sequence, at, hash }: Omit<SignedHead, "signature">): Uint8Array =>
  contextBytes("vault/v1", "audit-head", organizationId, String(sequence), at, hash);

const HEADS = `
SELECT organization_id AS id, sequence, at, hash FROM vault.audit_head
WHERE sequence > 0 AND ($1::text IS NULL OR organization_id = $1) ORDER BY organization_id`;
