import type { JsonColumn } from "@tributary/db";

/** Every JSON column of this package, for repair. */
export const jsonColumns: readonly JsonColumn[] = [
  {
    table: "integrations.credential",
    column: "meta",
    key: ["id"],
    ofOrganization: true,
    role: "upkeep",
    reset: `'{"v": "1"}'`,
    loses: "the cursor: the history is read again, and what was published already is not published twice",
  },
  {
    table: "integrations.credential",
    column: "secret_ids",
    key: ["id"],
    ofOrganization: true,
    role: "upkeep",
    reset: "'{}'",
    loses: "nothing that is opened by: the vault keeps the ids itself",
  },
  {
    table: "integrations.run",
    column: "log",
    key: ["id"],
    ofOrganization: true,
    role: "upkeep",
    reset: "'[]'",
    loses: "what the connector logged during one run",
  },
  {
    table: "integrations.action",
    column: "outcome",
    key: ["organization_id", "connection_id", "idempotency_key"],
    ofOrganization: true,
    role: "upkeep",
    reset: "NULL",
    loses: "how one action ended: asked again with its key, it is sent again with its key",
  },
  {
    table: "integrations.setting",
    column: "config",
    key: ["organization_id", "integration"],
    ofOrganization: true,
    role: "upkeep",
    reset: `'{"v": 1}'`,
    loses: "what the organisation had set for one integration: it has to be set again; credentials are not part of it",
  },
];
