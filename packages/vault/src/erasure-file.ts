import { open, readFile } from "node:fs/promises";
import { z } from "zod";
import type { Erasure } from "./erasure.ts";
import { VaultError } from "./errors.ts";

const Line = z.object({
  v: z.literal(1),
  id: z.uuid(),
  organizationId: z.string(),
  userId: z.string().optional(),
  erasedAt: z.iso.datetime().transform((text) => new Date(text)),
});

/**
 * The erasure ledger's copy outside the database: one line of JSON an erasure, only ever appended to. It holds ids and
 * times. A line that was being written when the process died has no end, and is passed over: what it announced had
 * not begun.
 * @returns none when there is no file yet. The same erasure may stand there twice; the later time counts.
 * @throws VaultError erasure_ledger_invalid when it cannot be read or a line is not one of its own.
 */
export async function readErasures(path: string): Promise<readonly Erasure[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw unusable("cannot be read", error);
  }
  const lines = text.split("\n").filter((line) => line.endsWith("}"));
  return lines.map((line, index) => {
    try {
      const { v: _, userId, ...rest } = Line.parse(JSON.parse(line));
      return { ...rest, userId };
    } catch {
      throw new VaultError("erasure_ledger_invalid", `the erasure ledger's entry ${index + 1} is not one of its own`);
    }
  });
}

/** Returns when the disk has it. @throws VaultError erasure_ledger_invalid. */
export async function appendErasures(path: string, erasures: readonly Erasure[]): Promise<void> {
  // A line break first as well: the line before may have no end.
  const lines = erasures.map((erasure) => `\n${JSON.stringify({ v: 1, ...erasure })}\n`);
  try {
    const file = await open(path, "a", 0o600);
    try {
      await file.writeFile(lines.join(""));
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw unusable("cannot be written", error);
  }
}

const unusable = (what: string, error: unknown): VaultError =>
  new VaultError(
    "erasure_ledger_invalid",
    `the erasure ledger ${what} (${(error as NodeJS.ErrnoException).code ?? "unknown"})`,
  );
