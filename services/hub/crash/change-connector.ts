import { TaskChangedSchema, TaskCompletedSchema } from "@tributary/contracts";
import { checkpoint, type Connector, oauth2, type Schema, signal } from "@tributary/sdk";
import { hash } from "node:crypto";

/** How a provider of the harness answers: how many changes an account has had. */
const Changes: Schema<{ readonly last: number }> = {
  parse: (value) => {
    const { last } = value as { last?: unknown };
    if (typeof last !== "number") throw new TypeError("last is a number");
    return { last };
  },
};

/** Objects of an account: change n is a change of object n modulo this. More than a page and what it repeats. */
const OBJECTS = 64;
const PAGE = 40;
/** Repeated at the start of each page, as providers do whose cursors are coarse. */
const OVERLAP = 12;
/** An account that changes in bursts longer than a commit takes: its pages are committed in two transactions. */
const LARGE = { objects: 1_024, page: 700 };

export const LARGE_ACCOUNT = "large";

/** Bytes that no broker of the harness takes. */
export const POISON_BYTES = 90_000;

const spread = (accountId: string): number => Number.parseInt(hash("sha256", accountId, "hex").slice(0, 2), 16);

/**
 * Follows a log of numbered changes. Half of the accounts name a revision, for the others the runtime counts.
 * @param origin of the provider. @param poison the change of the account "poisoned" that is too large for the broker.
 */
export function changeConnector(origin: string, poison?: number): Connector<number> {
  const title = (accountId: string, n: number): string =>
    accountId === "poisoned" && n === poison ? `${n} ${"x".repeat(POISON_BYTES)}` : String(n);
  return {
    id: "crash",
    scopes: [],
    manifest: {
      name: "Changes",
      description: { en: "Numbered changes.", pl: "Numerowane zmiany." },
      category: "tasks",
      owner: "user",
      hosts: [new URL(origin).host],
      apiVersions: [{ id: "v1", label: "v1", status: "stable" }],
      pollIntervalMs: 150,
      events: [TaskChangedSchema, TaskCompletedSchema],
      revocationUrl: origin,
      docsUrl: origin,
    },
    ...oauth2({ authorizationUrl: `${origin}/authorize`, tokenUrl: `${origin}/token` }, () =>
      Promise.reject(new Error("nobody links here")),
    ),
    async *fetchSignals(user, since) {
      const accountId = user.account?.id ?? "";
      const { objects, page } = accountId === LARGE_ACCOUNT ? LARGE : { objects: OBJECTS, page: PAGE };
      const revisions = spread(accountId) % 2 === 0;
      for (let after = since ?? 0; ;) {
        const { last } = await user.json(Changes, `${origin}/${accountId}`);
        const to = Math.min(last, after + page);
        for (let n = Math.max(1, after + 1 - (to > after ? OVERLAP : 0)); n <= to; n++)
          yield signal(n % 2 === 0 ? TaskChangedSchema : TaskCompletedSchema, {
            id: String(n % objects),
            occurredAt: new Date(1_763_683_200_000 + n),
            data: { task: { id: String(n % objects), title: title(accountId, n) } },
            ...(revisions ? { revision: String(n) } : {}),
          });
        yield checkpoint(to);
        if (to === last) return;
        after = to;
      }
    },
  };
}
