import type { Check } from "../check.ts";
import { actionChecks } from "./actions.ts";
import { backfillChecks } from "./backfill.ts";
import { changeChecks } from "./changes.ts";
import { consentChecks } from "./consent.ts";
import { crashChecks } from "./crash.ts";
import { cursorChecks } from "./cursor.ts";
import { leavingChecks } from "./leaving.ts";
import { reachChecks } from "./reach.ts";
import { refusalChecks } from "./refusals.ts";
import { secretChecks } from "./secrets.ts";
import { webhookChecks } from "./webhook.ts";

/** Every check, in the order in which an author should make them pass; the search for secrets sees what all others did. */
export const checks: readonly Check[] = [
  ...consentChecks,
  ...backfillChecks,
  ...changeChecks,
  ...crashChecks,
  ...cursorChecks,
  ...refusalChecks,
  ...reachChecks,
  ...actionChecks,
  ...webhookChecks,
  ...leavingChecks,
  ...secretChecks,
];
