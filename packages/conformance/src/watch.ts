import type { Checkpoint, Connector, Signal, User } from "@tributary/sdk";

/** What a connector did while it was watched. */
export interface Witness {
  /** Everything that it threw, with all that hangs on it. */
  readonly errors: unknown[];
  /** What its last run yielded. */
  yielded: (Signal | Checkpoint)[];
  /** The URLs that it asked its user to fetch. */
  readonly asked: string[];
  /** How often it was given a webhook delivery. */
  deliveries: number;
}

export const createWitness = (): Witness => ({ errors: [], yielded: [], asked: [], deliveries: 0 });

/** The same connector; what it throws and yields is written down on the way. */
export function watch(connector: Connector, witness: Witness): Connector {
  const noted = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      witness.errors.push(error);
      throw error;
    }
  };
  const heard = (user: User): User => ({
    ...user,
    fetch: (url, options) => {
      witness.asked.push(url);
      return user.fetch(url, options);
    },
    json: (schema, url, options) => {
      witness.asked.push(url);
      return user.json(schema, url, options);
    },
  });
  const { act, check, webhook } = connector;
  const accounts = webhook?.accounts;
  return {
    ...connector,
    beginOAuth: (user) => noted(() => connector.beginOAuth(user)),
    finishOAuth: (code, state) =>
      noted(() => connector.finishOAuth(code, { redeem: async (redeemed) => heard(await state.redeem(redeemed)) })),
    revoke: (user) => noted(() => connector.revoke(user)),
    ...(act === undefined ? {} : { act: (user, action) => noted(() => act(heard(user), action)) }),
    ...(check === undefined ? {} : { check: (user) => noted(() => check(heard(user))) }),
    async *fetchSignals(user, since) {
      witness.yielded = [];
      try {
        for await (const one of connector.fetchSignals(heard(user), since)) {
          witness.yielded.push(one);
          yield one;
        }
      } catch (error) {
        witness.errors.push(error);
        throw error;
      }
    },
    ...(webhook === undefined
      ? {}
      : {
          webhook: {
            ...webhook,
            ...(accounts === undefined
              ? {}
              : {
                  accounts: (delivery) => {
                    witness.deliveries += 1;
                    return accounts(delivery);
                  },
                }),
          },
        }),
  };
}

/** The same connector, calling `at` with the number of each yield after the runtime has dealt with it. */
export const interrupted = (connector: Connector, at: (yields: number) => void): Connector => ({
  ...connector,
  async *fetchSignals(user, since) {
    let yields = 0;
    for await (const one of connector.fetchSignals(user, since)) {
      yield one;
      at(++yields);
    }
  },
});
