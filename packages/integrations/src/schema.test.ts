import { migrate, openPglite } from "@tributary/db";
import { schemaDrift } from "@tributary/db/testing";
import { expect, it } from "vitest";
import { migrations } from "./migrations.ts";
import * as schema from "./schema.ts";

it("describes in schema.ts what the migrations make", async () => {
  const database = await openPglite();
  await migrate(database, [migrations]);
  expect(await schemaDrift(database, migrations.schema, schema)).toEqual([]);
  expect(await schemaDrift(database, migrations.schema, {})).not.toEqual([]);
  await database.close();
});
