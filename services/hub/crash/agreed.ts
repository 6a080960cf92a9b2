/** What the harness and its processes agree on. */

/** What subscribers show to the hub. */
export const HUB_KEY = "a-key-of-the-crash-harness-of-enough-characters";

/** The reason that the subscriber gives a dead letter; on the wire it is plain on either road. */
export const DEATH = "undeliverable-here";

/** How often an event dies before it has its effect, where events are mortal. */
export const deathsOf = (change: number): number => (change % 23 === 0 ? (change % 46 === 0 ? 2 : 1) : 0);
