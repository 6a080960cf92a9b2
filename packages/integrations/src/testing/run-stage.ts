import { asOwner, type Database } from "@tributary/db";
import { append } from "@tributary/pipeline";
import type { Connector } from "@tributary/sdk";
import { randomUUID } from "node:crypto";
import { createRegistry } from "../registry.ts";
import type { Runtime } from "../runtime.ts";
import { connection, credential } from "../schema.ts";

/** Links "tasks" for a person of "acme", due now. @param failures of its runs before. @returns the connection's id. */
export async function insertDueConnection(database: Database, failures = 0): Promise<string> {
  const [id, now] = [randomUUID(), new Date()];
  const common = { organizationId: "acme", integration: "tasks" };
  const owner = { ownerKind: "user", ownerId: "ann", accountId: id, accountLabel: "me" } as const;
  const standing = { apiVersion: "1", state: "connected", backfillFrom: now, dueAt: now, failures } as const;
  await asOwner(database, async (tx) => {
    await tx.insert(connection).values({ ...common, ...owner, ...standing, id });
    await tx
      .insert(credential)
      .values({ ...common, id: randomUUID(), connectionId: id, secretIds: {}, grantedScopes: [], meta: { v: "1" } });
  });
  return id;
}

/** What a run needs of a runtime, with the real commit. @param said is given every line of its log. */
export function runtimeOf(
  database: Database,
  connector: Connector,
  vault: object,
  said: Readonly<Record<string, unknown>>[],
): Runtime {
  const say = (fields: object, message: string): void => void said.push({ ...fields, message });
  return {
    database,
    vault,
    registry: createRegistry([connector]),
    now: () => new Date(),
    uuid: randomUUID,
    random: () => 0,
    append,
    committed: () => {},
    log: { info: say, warn: say, error: say },
  } as unknown as Runtime;
}
