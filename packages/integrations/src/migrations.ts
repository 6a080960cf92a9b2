import type { Migrations } from "@tributary/db";
import { fileURLToPath } from "node:url";

/** This package's tables. */
export const migrations: Migrations = {
  schema: "integrations",
  folder: fileURLToPath(new URL("../migrations", import.meta.url)),
};
