import type { Connector } from "@tributary/sdk";
import type { ConnectionRow, StoredState } from "./schema.ts";

/**
 * The states of a connection.
 *
 * Kept: `syncing` until the first run ends → `connected` ⇄ `error` (heals alone) · `expired` (the owner must link
 * again) · `paused` (somebody chose it) · `disconnected` (the end). Two more follow from facts and are never kept, so
 * that they cannot be out of date: `limited` (fewer permissions than asked) and `stale` (not read for too long).
 * Shown is the first that applies: paused, expired, error, limited, stale, syncing, connected.
 */
export type State = StoredState | "limited" | "stale";

const DAY_MS = 86_400_000;

export function shownState(row: ConnectionRow, granted: readonly string[], connector: Connector, now: Date): State {
  if (row.state === "disconnected" || row.state === "paused" || row.state === "expired" || row.state === "error")
    return row.state;
  if (missingScopes(connector, granted).length > 0) return "limited";
  const readAt = row.verifiedAt ?? row.createdAt;
  if (now.getTime() - readAt.getTime() > (connector.manifest.staleAfterMs ?? DAY_MS)) return "stale";
  return row.state;
}

/** Scopes that were asked for and not given. A provider's wider scope may stand for a narrower one: it is then granted by its id. */
export const missingScopes = (connector: Connector, granted: readonly string[]): readonly string[] =>
  connector.scopes.filter((scope) => !granted.includes(scope.id)).map((scope) => scope.id);

/** A connection in one of these is never claimed by the scheduler. */
export const isResting = (state: StoredState): boolean =>
  state === "paused" || state === "expired" || state === "disconnected";
