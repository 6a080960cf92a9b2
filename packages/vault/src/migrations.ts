import { fileURLToPath } from "node:url";
import type { Migrations } from "@tributary/db";

/** The vault's own tables. */
export const migrations: Migrations = {
  schema: "vault",
  folder: fileURLToPath(new URL("../migrations", import.meta.url)),
};
