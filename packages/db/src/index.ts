export { assertOutsideTransaction, type Database, type Queryable, run } from "./database.ts";
export { migrate, type Migrations } from "./migrate.ts";
export { withOrganization } from "./organization.ts";
export { openPglite, type PgliteOptions } from "./pglite.ts";
export { openPostgres, type PostgresOptions } from "./postgres.ts";
