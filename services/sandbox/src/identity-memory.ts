import type { Adapter, AdapterFactory, AdapterPayload } from "oidc-provider";

const ROWS_MAX = 1000;

/**
 * Where the simulated provider keeps sessions, interactions, codes and tokens: in memory, the newest
 * {@link ROWS_MAX}, each provider apart. Lifetimes are in the rows, and oidc-provider checks them there.
 */
export function identityMemory(): AdapterFactory {
  const rows = new Map<string, AdapterPayload>();
  const find = (match: (key: string, row: AdapterPayload) => boolean): AdapterPayload | undefined => {
    for (const [key, row] of rows) if (match(key, row)) return row;
    return undefined;
  };
  return (model: string): Adapter => {
    const own = (key: string): boolean => key.startsWith(`${model}:`);
    return {
      find: async (id) => rows.get(`${model}:${id}`),
      findByUid: async (uid) => find((key, row) => own(key) && row.uid === uid),
      findByUserCode: async (code) => find((key, row) => own(key) && row.userCode === code),
      upsert: async (id, payload) => {
        rows.delete(`${model}:${id}`);
        rows.set(`${model}:${id}`, payload);
        const [oldest] = rows.keys();
        if (rows.size > ROWS_MAX && oldest !== undefined) rows.delete(oldest);
      },
      consume: async (id) => {
        const row = rows.get(`${model}:${id}`);
        if (row !== undefined) row["consumed"] = Math.floor(Date.now() / 1000);
      },
      destroy: async (id) => void rows.delete(`${model}:${id}`),
      revokeByGrantId: async (grantId) => {
        for (const [key, row] of rows) if (own(key) && row.grantId === grantId) rows.delete(key);
      },
    };
  };
}
