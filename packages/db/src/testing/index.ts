export { freePort, type PrivatePostgres, startPrivatePostgres } from "./private-postgres.ts";
