import { acrossOrganizations, type Database, type Queryable, run } from "@tributary/db";
import { entryHash, STORED_ENTRY, type StoredEntry } from "./audit.ts";
import { isSignedHead, type SignedHead } from "./audit-heads.ts";

/** What is wrong with a chain, and from which entry on. */
export interface AuditFault {
  readonly organizationId: string;
  /** The first entry that is not what it was. */
  readonly sequence: number;
  readonly fault: AuditFaultKind;
}

/**
 * - `altered`: the entry is not the one that was written there: edited, exchanged with another, or after a different one.
 * - `missing`: entries were deleted here.
 * - `truncated`: the chain ends before this entry, which was there.
 * - `trimmed_early`: entries that have not had their 400 days are gone from the beginning.
 * - `head_altered`: the end of the chain is not where its own row says.
 * - `forged_head`: an exported head that this vault did not sign; it proves nothing.
 */
export type AuditFaultKind = "altered" | "missing" | "truncated" | "trimmed_early" | "head_altered" | "forged_head";

export interface AuditReport {
  readonly organizations: number;
  readonly entries: number;
  /** Exported heads that were compared. */
  readonly heads: number;
  /** At most one of each organisation's chain, the first; none when all is well. */
  readonly faults: readonly AuditFault[];
}

export interface AuditVerification {
  /** Default: all. */
  readonly organizationId?: string;
  /** Heads that were exported before. Without them a chain that was cut at its end, or made again, looks whole. */
  readonly heads?: readonly SignedHead[];
  readonly verifyKey: Uint8Array;
}

/** Whoever can write to the database can alter the audit, but not so that this does not see it. Reads in pages; changes nothing. */
export async function verifyAudit(database: Database, options: AuditVerification): Promise<AuditReport> {
  const wanted = ({ organizationId }: { organizationId: string }): boolean =>
    options.organizationId === undefined || organizationId === options.organizationId;
  const given = (options.heads ?? []).filter(wanted);
  const forged = given.filter((head) => !isSignedHead(head, options.verifyKey));
  const heads = given.filter((head) => !forged.includes(head));
  const chains = await asKeeper(database, (tx) => run<Chain>(tx, CHAINS, [options.organizationId ?? null]));
  const faults: AuditFault[] = forged.map(({ organizationId, sequence }) => ({
    organizationId,
    sequence,
    fault: "forged_head",
  }));
  let entries = 0;
  for (const chain of chains) {
    const known = heads.filter(({ organizationId }) => organizationId === chain.organization_id);
    const walked = await walkChain(database, chain, known);
    entries += walked.entries;
    if (walked.fault !== undefined) faults.push({ organizationId: chain.organization_id, ...walked.fault });
  }
  // A chain that is gone with its last row is known from its exported heads alone.
  const gone = heads.filter(({ organizationId }) => !chains.some((chain) => chain.organization_id === organizationId));
  for (const organizationId of new Set(gone.map((head) => head.organizationId)))
    faults.push({ organizationId, sequence: 1, fault: "truncated" });
  return { organizations: chains.length, entries, heads: heads.length, faults };
}

/** A chain's own row, and where its entries begin and end. */
interface Chain {
  readonly organization_id: string;
  readonly sequence: bigint;
  readonly hash: Uint8Array;
  readonly base_sequence: bigint;
  readonly base_hash: Uint8Array;
  /** The database's clock. */
  readonly today: string;
}

type Found = Pick<AuditFault, "sequence" | "fault">;
interface Walk {
  readonly entries: number;
  readonly fault?: Found;
}

const PAGE = 1000;
const DAYS_400_MS = 400 * 86_400_000;

async function walkChain(database: Database, chain: Chain, heads: readonly SignedHead[]): Promise<Walk> {
  const base = Number(chain.base_sequence);
  const last = Number(chain.sequence);
  const expected = new Map(heads.map((head) => [head.sequence, head.hash]));
  const early = trimmedEarly(chain, heads);
  if (early !== undefined) return { entries: 0, fault: early };
  let [sequence, before] = [base, chain.base_hash];
  let entries = 0;
  const fault = (at: number, kind: AuditFaultKind): Walk => ({ entries, fault: { sequence: at, fault: kind } });
  if (expected.has(base) && expected.get(base) !== hex(before)) return fault(base + 1, "altered");
  for (;;) {
    const page = await asKeeper(database, (tx) =>
      run<StoredEntry>(tx, ENTRIES, [chain.organization_id, sequence, PAGE]),
    );
    for (const entry of page) {
      sequence++;
      if (Number(entry.sequence) !== sequence) return fault(sequence, "missing");
      const right = entryHash(before, entry);
      if (hex(right) !== hex(entry.hash) || (expected.get(sequence) ?? hex(right)) !== hex(right))
        return fault(sequence, "altered");
      before = right;
      entries++;
    }
    if (page.length < PAGE) break;
  }
  const exported = Math.max(...expected.keys(), 0);
  if (sequence < Math.max(last, exported)) return fault(sequence + 1, "truncated");
  if (sequence > last || hex(chain.hash) !== hex(before)) return fault(Math.min(sequence, last + 1), "head_altered");
  return { entries };
}

/** Retention takes nothing younger than 400 days: a head that was exported since then is of an entry that must be there. */
function trimmedEarly(chain: Chain, heads: readonly SignedHead[]): Found | undefined {
  const base = Number(chain.base_sequence);
  const lost = heads.filter(
    (head) => head.sequence < base && Date.parse(head.at) > Date.parse(chain.today) - DAYS_400_MS,
  );
  const first = lost.map(({ sequence }) => sequence).toSorted((a, b) => a - b)[0];
  return first === undefined ? undefined : { sequence: first, fault: "trimmed_early" };
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const asKeeper = <T>(database: Database, work: (tx: Queryable) => Promise<T>): Promise<T> =>
  acrossOrganizations(database, "keeper", work);

/** Entries without a chain of their own are found as well: then its row was deleted. */
const CHAINS = `
SELECT organization_id, coalesce(h.sequence, 0) AS sequence, coalesce(h.hash, '') AS hash,
  coalesce(h.base_sequence, 0) AS base_sequence,
  coalesce(h.base_hash, decode(repeat('00', 32), 'hex')) AS base_hash, now() AS today
FROM vault.audit_head h FULL JOIN (SELECT DISTINCT organization_id FROM vault.audit) a USING (organization_id)
WHERE $1::text IS NULL OR organization_id = $1
ORDER BY organization_id`;

const ENTRIES = `SELECT ${STORED_ENTRY} FROM vault.audit WHERE organization_id = $1 AND sequence > $2 ORDER BY audit.sequence LIMIT $3`;
