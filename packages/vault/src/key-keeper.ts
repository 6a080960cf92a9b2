import { randomUUID as nodeRandomUUID } from "node:crypto";
import { acrossOrganizations, type Database, run } from "@tributary/db";
import { loadCheckedKeyRing, refreshKeyRing } from "./key-check.ts";
import { addKey, promoteYoungestKey } from "./key-file.ts";
import type { KeySource } from "./keys.ts";
import { type OnStep, resealSecrets, retireKeys, rewrapKeys, startGenerations, type StepResult } from "./rotation.ts";

/** The state of all keys, in numbers: no key, no subject and no secret is named. */
export interface KeyStatus {
  /** Key-encryption keys: those of the ring in their order, the first of which wraps what is new, then any missing. */
  readonly keys: readonly { readonly id: string; readonly inRing: boolean; readonly wraps: number }[];
  /** Organisations and people with a key pair. */
  readonly subjects: number;
  readonly secrets: number;
  /** Secrets that are sealed to an older generation of their subject's key. */
  readonly secretsToReseal: number;
  /** Key pairs of older generations. They go some minutes after nothing is sealed to them any more. */
  readonly oldGenerations: number;
  /** The last change of generation, with how many subjects have no new key pair yet. */
  readonly rotation:
    | { readonly startedAt: string; readonly finishedAt: string | null; readonly subjectsLeft: number }
    | undefined;
}

/** What an operator does with keys. No plaintext comes near it. */
export interface KeyKeeper {
  status(): Promise<KeyStatus>;
  /**
   * Adds a key-encryption key that nothing is wrapped with yet.
   * @returns its id; and the whole ring, which has to be put back where it came from, when it did not come from a file.
   */
  addKey(): Promise<{ readonly id: string; readonly ring?: string }>;
  /** Makes the youngest key of the file the first, and wraps everything under the first. Goes on where it was cut short. */
  rotateKek(onStep?: OnStep): Promise<StepResult & { readonly id: string }>;
  /** Gives every subject a new key pair and seals everything to it. Goes on where it was cut short. */
  rotateSubjects(onStep?: OnStep): Promise<StepResult & { readonly subjects: number; readonly retired: number }>;
}

export interface KeyKeeperOptions {
  readonly database: Database;
  readonly keys: KeySource;
  /** True when no hub runs on the data: then old key pairs go at once. */
  readonly alone: boolean;
  readonly now?: () => Date;
  readonly randomUUID?: () => string;
}

/** How long an unused pair stays while other processes may hold a row that needs it. */
export const RETIRE_AFTER_MS = 120_000;

/**
 * Opens the keys for an operator, with the same checks as `openVault`.
 * @throws VaultError key_missing · key_invalid. Neither writes anything.
 */
export async function openKeyKeeper(options: KeyKeeperOptions): Promise<KeyKeeper> {
  const { database, keys, alone, now = () => new Date(), randomUUID = nodeRandomUUID } = options;
  const ring = await loadCheckedKeyRing(database, keys);
  const parts = { database, ring, randomUUID };
  return Object.freeze<KeyKeeper>({
    status: () => keyStatus(database, ring.ids),
    addKey: async () => {
      const added = await addKey(keys, now());
      await refreshKeyRing(database, ring);
      return added;
    },
    rotateKek: async (onStep) => {
      const id = await promoteYoungestKey(keys);
      await refreshKeyRing(database, ring);
      return { id, ...(await rewrapKeys(database, ring, onStep)) };
    },
    rotateSubjects: async (onStep) => {
      const { changed: subjects } = await startGenerations(parts, onStep);
      const resealed = await resealSecrets(parts, onStep === undefined ? {} : { onStep });
      return { subjects, ...resealed, retired: await retireKeys(database, alone ? 0 : RETIRE_AFTER_MS, onStep) };
    },
  });
}

async function keyStatus(database: Database, ids: readonly string[]): Promise<KeyStatus> {
  return acrossOrganizations(database, "keeper", async (tx) => {
    const wraps = new Map((await run<{ id: string; n: number }>(tx, COUNT_WRAPPED)).map(({ id, n }) => [id, n]));
    const [counts] = await run<Omit<KeyStatus, "keys" | "rotation">>(tx, COUNT_KEYS);
    const [rotation] = await run<NonNullable<KeyStatus["rotation"]>>(tx, LAST_ROTATION);
    if (counts === undefined) throw new Error("a count without an answer");
    const missing = [...wraps.keys()].filter((id) => !ids.includes(id));
    return {
      keys: [...ids, ...missing].map((id) => ({ id, inRing: ids.includes(id), wraps: wraps.get(id) ?? 0 })),
      ...counts,
      rotation: rotation && {
        ...rotation,
        startedAt: new Date(rotation.startedAt).toISOString(),
        finishedAt: rotation.finishedAt && new Date(rotation.finishedAt).toISOString(),
      },
    };
  });
}

const COUNT_WRAPPED = "SELECT kek_id AS id, count(*)::int AS n FROM vault.subject_key GROUP BY kek_id ORDER BY kek_id";

const COUNT_KEYS = `
SELECT (SELECT count(*)::int FROM vault.subject_key WHERE superseded_at IS NULL) AS subjects,
  (SELECT count(*)::int FROM vault.secret) AS secrets,
  (SELECT count(*)::int FROM vault.secret s JOIN vault.subject_key k ON k.key_id = s.key_id WHERE k.superseded_at IS NOT NULL) AS "secretsToReseal",
  (SELECT count(*)::int FROM vault.subject_key WHERE superseded_at IS NOT NULL) AS "oldGenerations"`;

const LAST_ROTATION = `
SELECT started_at AS "startedAt", finished_at AS "finishedAt",
  (SELECT count(*)::int FROM vault.subject_key k WHERE superseded_at IS NULL AND created_at < r.started_at) AS "subjectsLeft"
FROM vault.rotation r ORDER BY started_at DESC LIMIT 1`;
