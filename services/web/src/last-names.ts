import { hash } from "node:crypto";
import type { Connection } from "./api.ts";

const SESSIONS_MAX = 1000;
const NAMES_MAX = 50;

/**
 * The names of what was connected when a session last looked, for the page that has to say "we can't check right now".
 * In memory, the latest {@link SESSIONS_MAX} sessions, keyed by a hash of their cookies: only the same browser sees them.
 */
export class LastNames {
  readonly #names = new Map<string, readonly string[]>();

  remember(cookies: string, connections: readonly Connection[]): void {
    this.forget(cookies);
    const live = connections.filter(({ state }) => state !== "disconnected").map(({ name }) => name);
    this.#names.set(keyOf(cookies), [...new Set(live)].slice(0, NAMES_MAX));
    const [oldest] = this.#names.keys();
    if (this.#names.size > SESSIONS_MAX && oldest !== undefined) this.#names.delete(oldest);
  }

  recall(cookies: string): readonly string[] {
    return this.#names.get(keyOf(cookies)) ?? [];
  }

  forget(cookies: string): void {
    this.#names.delete(keyOf(cookies));
  }
}

const keyOf = (cookies: string): string => hash("sha256", cookies, "base64url");
