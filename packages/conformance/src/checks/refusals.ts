import { asOwner, run as runSql } from "@tributary/db";
import type { Fault } from "@tributary/sandbox";
import { CANARY } from "../canary.ts";
import { type Check, must } from "../check.ts";
import { type Linked, link } from "../consent-road.ts";
import { cursorOf, drive, eventsOf, mustBeSame, read, stateOf } from "../drive.ts";
import type { Stage } from "../stage.ts";

/** One way in which a provider refuses, and what a run that meets it may end as. */
interface Refusal {
  readonly what: string;
  readonly fault: Omit<Fault, "match">;
  readonly outcomes: readonly string[];
  readonly advice: string;
}

const WAIT_SECONDS = 120;
/** Quoted by an error that quotes what it should not. */
const body = { error: "made_up", message: `${CANARY}body` };
const READ_BY_STATUS =
  "read answers with `user.json`, or with the SDK's `readJson`: both turn the status into the error";
const READ_BY_SHAPE = "read answers with a schema that insists on the fields that the connector lives on";

const REFUSALS: readonly Refusal[] = [
  {
    what: "401 that a renewal does not cure",
    fault: { status: 401, body, times: 2 },
    outcomes: ["reauth_required"],
    advice: READ_BY_STATUS,
  },
  {
    what: "403",
    fault: { status: 403, body },
    outcomes: ["contract_violation", "reauth_required"],
    advice: READ_BY_STATUS,
  },
  { what: "410", fault: { status: 410, body }, outcomes: ["cursor_expired"], advice: READ_BY_STATUS },
  {
    what: `429 with Retry-After: ${WAIT_SECONDS}`,
    fault: { status: 429, body, headers: { "retry-after": String(WAIT_SECONDS) } },
    outcomes: ["rate_limited"],
    advice: READ_BY_STATUS,
  },
  { what: "500", fault: { status: 500, body }, outcomes: ["retryable"], advice: READ_BY_STATUS },
  { what: "503", fault: { status: 503, body }, outcomes: ["retryable"], advice: READ_BY_STATUS },
  {
    what: "200 with HTML",
    fault: {
      status: 200,
      body: `<!doctype html><title>${CANARY}body</title>`,
      headers: { "content-type": "text/html" },
    },
    outcomes: ["contract_violation"],
    advice: READ_BY_SHAPE,
  },
  {
    what: "200 with JSON of another shape",
    fault: { status: 200, body: { unexpected: `${CANARY}body` } },
    outcomes: ["contract_violation"],
    advice: READ_BY_SHAPE,
  },
  {
    what: "200 that breaks off",
    fault: { status: 200, body: { unexpected: `${CANARY}body` }, truncate: 5 },
    outcomes: ["retryable"],
    advice: "let what `user.fetch` throws leave fetchSignals as it is",
  },
  {
    what: "connection that breaks",
    fault: { reset: true },
    outcomes: ["retryable"],
    advice: "let what `user.fetch` throws leave fetchSignals as it is",
  },
];

/** Runs with a fault in them at most. */
const FAULTS_MAX = 60;
/** So many checkpoints in a row are met at their first request; then a stride of requests passes between two faults. */
const CLOSE_MAX = 4;
const STRIDE = 6;

/** Every path but the token endpoint's: a renewal goes through. */
function requestsOf({ connector }: Stage): Fault["match"] {
  const token = new URL(connector.auth.tokenUrl).pathname.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return { path: new RegExp(`^(?!${token}$)`) };
}

/**
 * Meets the connector with the refusal at one request of each run: one later than in the last run, and at the first
 * again whenever the cursor has moved. When nothing is left to backfill, a run of changes is met as well. Then the
 * refusals end, and what was published has to be what it always is.
 */
async function refuseEach(stage: Stage, refusal: Refusal): Promise<void> {
  const { what, outcomes, advice } = refusal;
  const reference = await link(stage, "reference");
  await read(stage, reference);
  let linked = await link(stage, "refused");
  let [after, moves, backfilled] = [0, 0, false];
  for (let runs = 0; runs < FAULTS_MAX; runs++) {
    const before = await cursorOf(stage, linked);
    const { outcome, met } = await refusedRun(stage, linked, refusal, after);
    if (!met && outcome === "ok") {
      if (backfilled) break;
      [after, backfilled] = [0, true];
      continue;
    }
    must(
      met && outcomes.includes(outcome),
      `a ${what}, as the answer to request ${after + 1} of a run, ended the run as "${outcome}" instead of ${outcomes.map((one) => `"${one}"`).join(" or ")}`,
      advice,
    );
    if (outcome === "rate_limited") await mustWait(stage, linked);
    if (outcome === "reauth_required") linked = await linkAgain(stage, linked);
    const moved = (await cursorOf(stage, linked)) !== before && outcome !== "cursor_expired";
    if (moved) moves++;
    after = moved ? (moves > CLOSE_MAX ? STRIDE : 0) : after + 1 + (after >> 2);
  }
  await read(stage, linked);
  must((await stateOf(stage, linked)) === "connected", `after a ${what} the connection did not heal`, advice);
  mustBeSame(
    await eventsOf(stage, linked),
    await eventsOf(stage, reference),
    `after a ${what} at every request`,
    "yield a checkpoint only when everything before it was read",
  );
}

async function refusedRun(stage: Stage, linked: Linked, { fault }: Refusal, after: number) {
  const { faults } = stage.control;
  faults.add({ ...fault, match: requestsOf(stage), after });
  const { outcome } = await drive(stage, linked);
  const met = faults.pending === 0;
  faults.clear();
  return { outcome, met };
}

const WAITS = `SELECT extract(epoch FROM due_at - now())::float8 AS seconds FROM integrations.connection WHERE id = $1`;

async function mustWait({ database }: Stage, { id }: Linked): Promise<void> {
  const [row] = await asOwner(database, (tx) => runSql<{ seconds: number | null }>(tx, WAITS, [id]));
  must(
    (row?.seconds ?? 0) > WAIT_SECONDS - 10,
    `the provider asked to wait for ${WAIT_SECONDS} s; the next run is due in ${Math.round(row?.seconds ?? 0)} s`,
    "give the wait to RateLimited as `retryAfterMs`",
  );
}

async function linkAgain(stage: Stage, { id, member }: Linked): Promise<Linked> {
  const cursor = await cursorOf(stage, { id, member });
  must((await stateOf(stage, { id, member })) === "expired", "the owner is not told", "throw ReauthRequired");
  const linked = await link(stage, member.caller.name, id);
  must(
    linked.id === id && (await cursorOf(stage, linked)) === cursor,
    "linking the account again made another connection, or lost the cursor",
    "return the same account id for the same account, every time",
  );
  return linked;
}

const renewed: Check = {
  name: "an access token that has expired is renewed on the way",
  exempt: (_connector, { control }) =>
    control.oauth === undefined || control.oauth.quirks.refresh === "none"
      ? "the provider gives no refresh tokens"
      : undefined,
  run: async (stage) => {
    const linked = await link(stage, "a");
    await read(stage, linked);
    stage.control.oauth?.tokens.expire();
    await read(stage, linked);
    must(
      stage.control.journal.counted("tokens.refreshed") === 1,
      `the token was renewed ${stage.control.journal.counted("tokens.refreshed")} times`,
      "leave 401 to `user.fetch`: it renews once",
    );
  },
};

export const refusalChecks: readonly Check[] = [
  renewed,
  ...REFUSALS.map((refusal): Check => ({
    name: `a ${refusal.what} gets the right class, and nothing is lost`,
    run: (stage) => refuseEach(stage, refusal),
  })),
];
