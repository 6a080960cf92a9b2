import type { JsonColumn } from "@tributary/db";

/** Every JSON column of this package, for repair. */
export const jsonColumns: readonly JsonColumn[] = [
  {
    table: "vault.credential_grant",
    column: "secret_ids",
    key: ["organization_id", "credential_id"],
    ofOrganization: true,
    role: "keeper",
    reset:
      "(SELECT coalesce(jsonb_object_agg(s.field, s.id), '{}') FROM vault.secret s " +
      "WHERE s.organization_id = credential_grant.organization_id AND s.credential_id = credential_grant.credential_id)",
    loses: "nothing: the ids are read from the secrets themselves",
  },
  {
    table: "vault.credential_grant",
    column: "scopes",
    key: ["organization_id", "credential_id"],
    ofOrganization: true,
    role: "keeper",
    reset: "'[]'",
    loses: "which permissions the provider gave; the next renewal or consent says it again",
  },
];
