export { asOwner } from "../as-owner.ts";
export { freePort, type PrivatePostgres, startPrivatePostgres } from "./private-postgres.ts";
export { schemaDrift } from "./schema-drift.ts";
