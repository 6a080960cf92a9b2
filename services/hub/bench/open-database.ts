import { openPglite } from "@tributary/db";

/** The ceiling of hub/start: nothing but the database. */
const database = await openPglite({ dataDir: process.argv[2] ?? "" });
await database.query.execute("SELECT 1");
process.stdout.write("open\n");
await database.close();
