import { create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import type { Json } from "./connector.ts";

/** A change at the provider, as a connector yields it. Made by {@link signal}. */
export interface Signal<T extends DescMessage = DescMessage> {
  readonly kind: "signal";
  readonly schema: T;
  readonly message: MessageShape<T>;
  readonly id: string;
  readonly revision: string | undefined;
  readonly occurredAt: Date;
  readonly transition: Transition | undefined;
}

/** "Everything yielded so far is complete up to this cursor." Made by {@link checkpoint}. */
export interface Checkpoint<C extends Json = Json> {
  readonly kind: "checkpoint";
  readonly cursor: C;
}

/**
 * Publish the signal as `as` when the last event about the same object was a `from`. For providers that show a state
 * ("open") where the contract has a change ("reopened"). `as` must have the fields of the signal's own type.
 */
export interface Transition {
  readonly from: DescMessage;
  readonly as: DescMessage;
}

export interface SignalInit<T extends DescMessage> {
  /** The provider's id of the object; 1 to 512 characters, none of them NUL. Signals with one id and one object type are about one object. */
  readonly id: string;
  /**
   * The provider's own mark of this state of the object (etag, updated_at), when it has one that changes with every
   * change. Two signals with equal id, type and revision are one event. Default: a change is recognised by the
   * payload, and counted, so that completing, reopening and completing again are three events.
   */
  readonly revision?: string;
  /** When it happened, by the provider's clock; in the years 1 to 9999, which protobuf and RFC 3339 can tell. */
  readonly occurredAt: Date;
  readonly data: MessageInitShape<T>;
  readonly transition?: Transition;
}

/**
 * A change at the provider: a message of `contracts`, and what identifies it.
 * @throws TypeError when the id is empty, too long, not well-formed Unicode or has a NUL, which no database text holds, or
 * the date is not one of the years 1 to 9999. Thrown here, it names the connector's mistake; in a commit it would stop the
 * connection over and over.
 */
export function signal<T extends DescMessage>(schema: T, init: SignalInit<T>): Signal<T> {
  const { id, occurredAt } = init;
  if (id.length === 0 || id.length > 512 || !id.isWellFormed() || id.includes("\0"))
    throw new TypeError("signal: the id must have 1 to 512 characters, well-formed and without NUL");
  const timeMs = occurredAt.getTime();
  if (!(timeMs >= FIRST_MS && timeMs <= LAST_MS))
    throw new TypeError("signal: occurredAt is not a date in the years 1 to 9999");
  return {
    kind: "signal",
    schema,
    message: create(schema, init.data),
    id,
    revision: init.revision,
    occurredAt,
    transition: init.transition,
  };
}

const FIRST_MS = Date.parse("0001-01-01T00:00:00Z");
const LAST_MS = Date.parse("9999-12-31T23:59:59.999Z");

/** Ends a stretch that is complete: the runtime commits what was yielded before it together with the cursor. */
export const checkpoint = <C extends Json>(cursor: C): Checkpoint<C> => ({ kind: "checkpoint", cursor });
