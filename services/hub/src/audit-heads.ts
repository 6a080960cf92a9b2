import type { Auditor, SignedHead } from "@tributary/vault";
import { parseSignedHead } from "@tributary/vault";
import { readFileSync, renameSync, writeFileSync } from "node:fs";

/** In the data folder. */
export const HEADS_FILE = "audit-heads.jsonl";

/** As long as entries are kept: a head that is older is of an entry that has had its time. */
const KEPT_MS = 400 * 86_400_000;

/**
 * Writes down where every chain of the audit ends now: a file of lines, signed, one for each organisation and day, the
 * day's latest. Beside the database it tells a chain that was cut; on another machine, to which an operator copies it,
 * it tells that also of whoever administers this one.
 */
export async function exportHeads(auditor: Auditor, file: string, now: Date): Promise<readonly SignedHead[]> {
  const heads = await auditor.heads();
  const kept = new Map<string, SignedHead>();
  for (const head of [...readHeads(file), ...heads]) {
    if (now.getTime() - Date.parse(head.at) > KEPT_MS) continue;
    const name = JSON.stringify([head.organizationId, head.at.slice(0, 10)]);
    // A chain that goes back was tampered with: what was known of it stays.
    if ((kept.get(name)?.sequence ?? 0) < head.sequence) kept.set(name, head);
  }
  const text = [...kept.values()].map((head) => `${JSON.stringify(head)}\n`).join("");
  // Beside and into place: whoever reads it finds all of it.
  writeFileSync(`${file}.tmp`, text, { mode: 0o600, flush: true });
  renameSync(`${file}.tmp`, file);
  return heads;
}

/** The heads of a file; what is no head is passed over, and a file that is not there has none. */
export function readHeads(file: string): readonly SignedHead[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return text.split("\n").flatMap((line) => parseSignedHead(line) ?? []);
}
