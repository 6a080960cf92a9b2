import type { EventAttributes } from "@tributary/contracts";

/**
 * Makes the effect of an event happen exactly once, however often the event is delivered: the effect and a row with
 * the event's id are written in one transaction. Keep the rows longer than the stream keeps events.
 *
 * `postgresInbox` is one for PostgreSQL. With any other store that has transactions:
 *
 * ```ts
 * const inbox: Inbox<Transaction> = {
 *   once: (eventId, effect) =>
 *     database.transaction(async (tx) => {
 *       const rows = await tx`INSERT INTO inbox (event_id) VALUES (${eventId}) ON CONFLICT DO NOTHING RETURNING event_id`;
 *       if (rows.length === 0) return false;
 *       await effect(tx);
 *       return true;
 *     }),
 * };
 * subscribe({ url, name: "billing", inbox }).on(TaskCompletedSchema, async (event, { tx }) => { … });
 * ```
 */
export interface Inbox<Tx> {
  /**
   * Runs `effect` unless this key was recorded before; records it in the same transaction.
   * @param key the event's id; for an event that a replay brings again, that and the replay's id, at most 100 characters
   * of printable ASCII: a replay is to have its effect once more, and once only.
   * @returns whether the effect ran. @throws what the effect threw, after rolling back.
   */
  once(key: string, effect: (tx: Tx) => Promise<void>): Promise<boolean>;
}

/** A redriven dead letter had no effect yet: it keeps the key that it died with, be that the event's or a replay's. */
export const inboxKey = ({ id, replayId }: Pick<EventAttributes, "id" | "replayId">): string =>
  replayId === undefined ? id : `${id} ${replayId}`;
