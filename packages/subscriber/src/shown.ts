import { SubscriberError, type Shown, type SubscriberLog } from "./source.ts";

/** What is shown to be let in: one thing for good, or what a function says each time that it is asked. */
export interface Proof {
  /** As it was last given; undefined where nothing is shown. */
  readonly value: string | undefined;
  /** Whether there is anybody to ask for another one. */
  readonly renewable: boolean;
  /** Asks for it. Whoever comes while that is under way shares the answer. @throws SubscriberError refused. */
  renew(): Promise<void>;
  /**
   * Asks again a little before the end that the proof names in itself (`exp` of a JSON Web Token, RFC 7519 §4.1.4; others
   * keep theirs to themselves), and calls back when the answer is another one, until the returned function is called.
   */
  watch(renewed: () => void): () => void;
}

/** What was refused, and how often it was shown in vain. */
export interface Refused {
  readonly shown: string | undefined;
  readonly times: number;
}

/** A function that keeps its answer until that ends, by a clock that is a little late, gives the refused one again. */
const STALE_MAX = 5;

/** @returns undefined when another one is refused now, or the same one too often: there is none that is let in. */
export function refusedAgain(shown: string | undefined, before: Refused | undefined): Refused | undefined {
  const times = (before?.times ?? 0) + 1;
  return before !== undefined && (shown !== before.shown || times > STALE_MAX) ? undefined : { shown, times };
}

/** Asked for so long before its end, or in the last fifth of a short life. */
const AHEAD_MS = 30_000;
/** Below this nobody is asked any more: whoever is shown the proof says when it has ended. */
const LEFT_MS_MIN = 1_000;
/** What a timer can wait for. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export function createProof(shown: Shown | undefined, log: SubscriberLog): Proof {
  let value = typeof shown === "string" ? shown : undefined;
  let asking: Promise<void> | undefined;

  async function ask(from: () => string | Promise<string>): Promise<void> {
    try {
      value = await from();
    } catch (cause) {
      throw new SubscriberError("refused", "the function that gives the token or the credentials failed", { cause });
    }
  }

  // Cleared here and not in `ask`, which a function that throws at once ends before its promise is kept.
  const asked = (from: () => string | Promise<string>): Promise<void> =>
    (asking ??= ask(from).finally(() => (asking = undefined)));
  const renew = (): Promise<void> => (typeof shown === "function" ? asked(shown) : Promise.resolve());

  function watch(renewed: () => void): () => void {
    let timer: NodeJS.Timeout | undefined;
    let over = false;
    const wait = (): void => {
      const leftMs = (endOf(value) ?? Number.POSITIVE_INFINITY) - Date.now();
      if (over || leftMs < LEFT_MS_MIN || leftMs === Number.POSITIVE_INFINITY) return;
      const pauseMs = leftMs - Math.min(AHEAD_MS, leftMs / 5);
      timer = setTimeout(() => void (pauseMs > TIMER_MS_MAX ? wait() : again()), Math.min(pauseMs, TIMER_MS_MAX));
    };
    const again = async (): Promise<void> => {
      const before = value;
      await renew().catch(({ code }: SubscriberError) => log.warn({ code }, "no other token or credentials yet"));
      if (over) return;
      if (value !== before) renewed();
      wait();
    };
    if (typeof shown === "function") wait();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }

  return {
    get value() {
      return value;
    },
    renewable: typeof shown === "function",
    renew,
    watch,
  };
}

/** The end that a JSON Web Token names, alone or in a `.creds` file, in milliseconds since the epoch. */
export function endOf(text = ""): number | undefined {
  const [, claims = ""] = /(?:^|\s)[\w-]+\.([\w-]+)\.[\w-]+(?:\s|$)/.exec(text) ?? [];
  try {
    const { exp } = JSON.parse(Buffer.from(claims, "base64url").toString()) as { exp?: unknown };
    return typeof exp === "number" ? exp * 1_000 : undefined;
  } catch {
    return undefined;
  }
}
