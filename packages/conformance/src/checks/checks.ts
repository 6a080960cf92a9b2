import type { Check } from "../check.ts";
import { backfillChecks } from "./backfill.ts";
import { changeChecks } from "./changes.ts";
import { consentChecks } from "./consent.ts";
import { crashChecks } from "./crash.ts";
import { cursorChecks } from "./cursor.ts";

/** Every check, in the order in which an author should make them pass. */
export const checks: readonly Check[] = [
  ...consentChecks,
  ...backfillChecks,
  ...changeChecks,
  ...crashChecks,
  ...cursorChecks,
];
