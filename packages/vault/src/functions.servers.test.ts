import { openPostgres } from "@tributary/db";
import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { afterAll, beforeAll } from "vitest";
import { describeFunctions } from "./testing/function-cases.ts";

let server: PrivatePostgres;
beforeAll(async () => {
  server = await startPrivatePostgres();
});
afterAll(() => server.stop());

describeFunctions("PostgreSQL", async () => openPostgres({ url: await server.createDatabase(), connectionsMax: 3 }));
