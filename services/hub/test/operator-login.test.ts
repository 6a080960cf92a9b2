import { migrations as authTables } from "@tributary/auth";
import { acrossOrganizations, migrate, openPglite, run } from "@tributary/db";
import { migrations as integrationTables } from "@tributary/integrations";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { migrations as vaultTables } from "@tributary/vault";
import { expect, it } from "vitest";

it("installs under a login that is no superuser, on the newest PostgreSQL as well", async () => {
  const database = await openPglite();
  await database.pglite.exec(`
    CREATE ROLE operator LOGIN CREATEROLE;
    GRANT CREATE ON DATABASE postgres TO operator;
    SET SESSION AUTHORIZATION operator`);
  await migrate(database, [authTables, vaultTables, pipelineTables, integrationTables]);
  const version = await run<{ number: string }>(
    database.query,
    "SELECT current_setting('server_version_num') AS number",
  );
  expect(Number(version[0]?.number)).toBeGreaterThanOrEqual(160_000);
  const claims = await acrossOrganizations(database, "scheduler", (tx) =>
    run(tx, "SELECT 1 FROM integrations.connection"),
  );
  expect(claims).toEqual([]);
  await database.close();
});
