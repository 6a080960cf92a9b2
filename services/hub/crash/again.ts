import { setTimeout as sleep } from "node:timers/promises";
import { HUB_KEY } from "./agreed.ts";

/** A replay that a hub has agreed to: what was committed between these, milliseconds since the epoch. */
export interface Replayed {
  readonly id: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Where consumers stand, as a hub says. */
export interface Standing {
  /** Events that are not settled. */
  readonly lag: number;
  readonly deadLetters: number;
  /** Replays under way. */
  readonly running: number;
}

/** Has events delivered again, by asking the hub as an operator does. A hub that is away is asked again. */
export interface Again {
  readonly replays: readonly Replayed[];
  /** What the hub refuses now, with its status: a hub that is away refuses nothing. What is asked wrongly never happens. */
  readonly refusals: readonly string[];
  redrive(): Promise<void>;
  /** Asks for a replay of what was committed lately, unless one is under way. */
  replay(): Promise<void>;
  /** Redrives and replays until the returned function is called, which resolves when nothing is asked any more. */
  keepOn(): () => Promise<void>;
  /** Undefined while the hub is away. */
  standing(): Promise<Standing | undefined>;
}

const EVERY_MS = 250;
const ANSWER_MS_MAX = 5_000;
/** What is replayed lies so far back: every transaction that took its time before that has ended, one way or the other. */
const SETTLED_MS = 3_000;
const SPAN_MS = 5_000;

/** @param consumer what the hub knows the subscriber by. */
export function openAgain(hubUrl: string, consumer: string): Again {
  const replays: Replayed[] = [];
  /** Asked for, and not known to have been heard: it is asked for again under the same key. */
  let wish: { readonly key: string; readonly fromMs: number; readonly untilMs: number } | undefined;
  let count = 0;
  const refusals = new Map<string, number>();

  async function call<T>(method: string, body: object): Promise<T | undefined> {
    try {
      const response = await fetch(`${hubUrl}/tributary.api.v1.${method}`, {
        method: "POST",
        headers: { authorization: `Bearer ${HUB_KEY}`, "content-type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(ANSWER_MS_MAX),
      });
      if (response.status >= 400 && response.status < 500) refusals.set(method, response.status);
      else refusals.delete(method);
      return response.ok ? ((await response.json()) as T) : undefined;
    } catch {
      return undefined;
    }
  }

  const running = async (): Promise<number | undefined> => {
    const listed = await call<{ replays?: { state: string }[] }>("EventService/ListReplays", {});
    return listed?.replays?.filter(({ state }) => state === "REPLAY_STATE_RUNNING").length ?? (listed && 0);
  };

  async function redrive(): Promise<void> {
    await call("DeadLetterService/RedriveDeadLetters", { consumer });
  }

  async function replay(): Promise<void> {
    if (wish === undefined && (await running()) !== 0) return;
    const untilMs = Date.now() - SETTLED_MS;
    wish ??= { key: `crash-${++count}`, fromMs: untilMs - SPAN_MS, untilMs };
    const { key, fromMs } = wish;
    const [from, until] = [fromMs, wish.untilMs].map((ms) => new Date(ms).toISOString());
    const answer = await call<{ replay: { id: string } }>("EventService/Replay", { from, until, idempotencyKey: key });
    if (answer === undefined) return;
    replays.push({ id: answer.replay.id, fromMs, untilMs: wish.untilMs });
    wish = undefined;
  }

  return {
    replays,
    get refusals() {
      return [...refusals].map(([method, status]) => `${method} (${status})`);
    },
    redrive,
    replay,
    keepOn: () => {
      const over = new AbortController();
      const going = (async () => {
        while (!over.signal.aborted || wish !== undefined) {
          await redrive();
          await replay();
          await sleep(EVERY_MS);
        }
      })();
      return async () => {
        over.abort();
        await going;
      };
    },
    standing: async () => {
      const consumers = (await call<{ consumers?: { lag?: string }[] }>("ConsumerService/ListConsumers", {}))
        ?.consumers;
      const letters = await call<{ deadLetters?: object[] }>("DeadLetterService/ListDeadLetters", {});
      const replaying = await running();
      if (consumers === undefined || letters === undefined || replaying === undefined) return undefined;
      const lag = consumers.reduce((sum, { lag: each = "0" }) => sum + Number(each), 0);
      return { lag, deadLetters: letters.deadLetters?.length ?? 0, running: replaying };
    },
  };
}
