import { asOwner } from "@tributary/db/testing";
import { openPglite } from "@tributary/db";

/** The ceiling of hub/start: nothing but the database. */
const database = await openPglite({ dataDir: process.argv[2] ?? "" });
await asOwner(database, (tx) => tx.execute("SELECT 1"));
process.stdout.write("open\n");
await database.close();
