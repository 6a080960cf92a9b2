export { asOwner } from "./as-owner.ts";
export { assertOutsideTransaction, type Database, type Queryable, run, runAhead, runLast } from "./database.ts";
export { findMisshapen, type JsonColumn, type Misshapen, resetMisshapen } from "./json-shapes.ts";
export { migrate, type Migrations, RowSecurityError } from "./migrate.ts";
export { openPglite, type PgliteOptions } from "./pglite.ts";
export { openPostgres, type PostgresOptions } from "./postgres.ts";
export { acrossOrganizations, type CrossRole, type OrganizationRole, roleName, withOrganization } from "./scope.ts";
export { DatabaseUnavailable, databaseUnavailableIn } from "./unavailable.ts";
