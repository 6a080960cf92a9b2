/**
 * Makes the effect of an event happen exactly once, however often the event is delivered: the effect and a row with
 * the event's id are written in one transaction. Keep the rows longer than the stream keeps events.
 *
 * With any SQL database:
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
   * Runs `effect` unless an event of this id was recorded before; records it in the same transaction.
   * @returns whether the effect ran. @throws what the effect threw, after rolling back.
   */
  once(eventId: string, effect: (tx: Tx) => Promise<void>): Promise<boolean>;
}
