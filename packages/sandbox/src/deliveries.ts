import type { Journal } from "./journal.ts";

/** A webhook request that was sent, or would have been. */
export interface SentDelivery {
  readonly id: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** One per attempt: the status, or 0 when there was no answer. */
  readonly statuses: readonly number[];
}

/** Webhooks on their way out: in order, one after the other, never retried by themselves. */
export interface Deliveries {
  send(delivery: Pick<SentDelivery, "id" | "url" | "headers" | "body">): void;
  /** The newest {@link KEPT_MAX}, oldest first. */
  readonly sent: readonly SentDelivery[];
  /** Sends one again as it was: same id, same body, same signature. @throws RangeError when it is not known. */
  redeliver(id: string): Promise<number>;
  /** Keeps the next ones back, as when a webhook is lost; they can be delivered later with {@link redeliver}. */
  lose(count: number): void;
  /** Resolves when nothing is on its way. */
  idle(): Promise<void>;
  clear(): void;
}

const KEPT_MAX = 200;
const ANSWER_MS_MAX = 5000;

export function createDeliveries(journal: Journal): Deliveries {
  let kept: (SentDelivery & { statuses: number[] })[] = [];
  let tail: Promise<unknown> = Promise.resolve();
  let toLose = 0;
  const attempt = (delivery: (typeof kept)[number]): Promise<number> => {
    const sending = tail.then(async () => {
      const status = await post(delivery);
      delivery.statuses.push(status);
      journal.count("webhooks.sent");
      return status;
    });
    tail = sending;
    return sending;
  };
  return {
    send: (delivery) => {
      const one = { ...delivery, statuses: [] };
      kept = [...kept, one].slice(-KEPT_MAX);
      if (toLose > 0) toLose--;
      else void attempt(one);
    },
    get sent() {
      return kept;
    },
    redeliver: (id) => {
      const found = kept.find((delivery) => delivery.id === id);
      if (found === undefined) throw new RangeError("no such delivery");
      return attempt(found);
    },
    lose: (count) => void (toLose = count),
    idle: async () => {
      let seen: unknown;
      while (seen !== tail) {
        seen = tail;
        await seen;
      }
    },
    clear: () => {
      kept = [];
      toLose = 0;
    },
  };
}

async function post({ url, headers, body }: SentDelivery): Promise<number> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    const response = await fetch(url, { method: "POST", headers, body, signal, redirect: "manual" });
    await response.body?.cancel();
    return response.status;
  } catch {
    return 0;
  }
}
