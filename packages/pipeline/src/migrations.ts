import { fileURLToPath } from "node:url";
import type { Migrations } from "@tributary/db";

export const migrations: Migrations = {
  schema: "pipeline",
  folder: fileURLToPath(new URL("../migrations", import.meta.url)),
};
