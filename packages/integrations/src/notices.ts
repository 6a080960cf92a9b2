import { type Database, withOrganization } from "@tributary/db";
import { desc, eq } from "drizzle-orm";
import { notice } from "./schema.ts";

/** Something that an organisation's admins have to know. Names a place, never a value. */
export type Notice = Omit<typeof notice.$inferSelect, "organizationId">;

const NOTICES_MAX = 50;

/** What an organisation's admins are to be told, the newest first, 50 at most. Kept for 90 days. */
export const listNotices = (database: Database, organizationId: string): Promise<readonly Notice[]> =>
  withOrganization(database, organizationId, (tx) =>
    tx
      .select({ id: notice.id, at: notice.at, code: notice.code, place: notice.place, rowKey: notice.rowKey })
      .from(notice)
      .where(eq(notice.organizationId, organizationId))
      .orderBy(desc(notice.at), notice.id)
      .limit(NOTICES_MAX),
  );
