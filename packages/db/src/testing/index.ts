export { asOwner } from "../as-owner.ts";
export { freePort, freePorts } from "./free-ports.ts";
export { type PrivatePostgres, startPrivatePostgres } from "./private-postgres.ts";
export { schemaDrift } from "./schema-drift.ts";
