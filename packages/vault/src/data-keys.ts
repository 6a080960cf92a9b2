import { wipe } from "./seal.ts";
import type { Subject } from "./subject-keys.ts";

const DATA_KEY_MS = 60_000;

/** Data keys in memory, of all sessions of one vault: so that erasing a person reaches every one of them at once. */
export interface DataKeys {
  session(subject: Subject): SessionKeys;
  /** Wipes what is kept for an organisation, or for one of its owners. @returns how many keys. */
  drop(organizationId: string, owner?: Subject["owner"]): number;
}

/**
 * Data keys of one session, each for at most 60 s. The row is read for every request all the same, so a credential that
 * was renewed or deleted is noticed at once; the keys save only the opening of the sealed box.
 */
export interface SessionKeys {
  /** `work` is synchronous: a key cannot be wiped while it is in use. */
  use<T>(name: string, open: () => Promise<Uint8Array>, work: (key: Uint8Array) => T): Promise<T>;
}

interface Kept {
  readonly key: Uint8Array;
  readonly until: number;
  readonly subject: Subject;
  readonly timer: NodeJS.Timeout;
  readonly forget: () => void;
}

export function createDataKeys(now: () => Date): DataKeys {
  const all = new Set<Kept>();

  function session(subject: Subject): SessionKeys {
    let current: { readonly name: string; readonly kept: Kept } | undefined;
    return {
      use: async (name, open, work) => {
        if (current?.name === name && current.kept.until > now().getTime()) return work(current.kept.key);
        current?.kept.forget();
        const key = await open();
        // Another request of the session may have opened one meanwhile.
        current?.kept.forget();
        const kept: Kept = {
          key,
          until: now().getTime() + DATA_KEY_MS,
          subject,
          // A session that nobody uses any more must not keep its key until it is collected.
          timer: setTimeout(() => kept.forget(), DATA_KEY_MS).unref(),
          forget: () => {
            all.delete(kept);
            clearTimeout(kept.timer);
            wipe(key);
            if (current?.kept === kept) current = undefined;
          },
        };
        all.add(kept);
        current = { name, kept };
        return work(key);
      },
    };
  }

  return {
    session,
    drop: (organizationId, owner) => {
      const gone = [...all].filter(
        ({ subject }) =>
          subject.organizationId === organizationId &&
          (owner === undefined || (subject.owner.kind === owner.kind && subject.owner.id === owner.id)),
      );
      for (const kept of gone) kept.forget();
      return gone.length;
    },
  };
}
