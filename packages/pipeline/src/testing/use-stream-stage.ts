import { type Database, migrate, openPglite } from "@tributary/db";
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import { migrations } from "../migrations.ts";
import { openStreamStage, type StreamStage } from "./stream-stage.ts";

/** What each test of a file stands on. */
export interface OnStage {
  /** The file's. */
  readonly database: Database;
  /** The test's own: nobody else's events are in the way. */
  readonly organizationId: string;
  readonly stage: StreamStage;
}

/** Registers what comes before and after the tests of the file that calls it. @param begin is called before each. */
export function useStreamStage(begin: (on: OnStage) => void): void {
  let database: Database;
  let stage: StreamStage;
  beforeAll(async () => {
    database = await openPglite();
    await migrate(database, [migrations]);
  });
  afterAll(() => database.close());
  beforeEach(async () => {
    const organizationId = `org${randomUUID().slice(0, 8)}`;
    stage = await openStreamStage(database, organizationId);
    begin({ database, organizationId, stage });
  });
  afterEach(() => stage.stop());
}
