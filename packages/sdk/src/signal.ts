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
  /** The provider's id of the object; 1 to 512 characters. Signals with one id and one object type are about one object. */
  readonly id: string;
  /**
   * The provider's own mark of this state of the object (etag, updated_at), when it has one that changes with every
   * change. Two signals with equal id, type and revision are one event. Default: a change is recognised by the
   * payload, and counted, so that completing, reopening and completing again are three events.
   */
  readonly revision?: string;
  /** When it happened, by the provider's clock. */
  readonly occurredAt: Date;
  readonly data: MessageInitShape<T>;
  readonly transition?: Transition;
}

/**
 * A change at the provider: a message of `contracts`, and what identifies it.
 * @throws TypeError when the id is empty, too long or not well-formed Unicode, or the date is not a date.
 */
export function signal<T extends DescMessage>(schema: T, init: SignalInit<T>): Signal<T> {
  if (init.id.length === 0 || init.id.length > 512 || !init.id.isWellFormed())
    throw new TypeError("signal: the id must have 1 to 512 characters");
  if (Number.isNaN(init.occurredAt.getTime())) throw new TypeError("signal: occurredAt is not a date");
  return {
    kind: "signal",
    schema,
    message: create(schema, init.data),
    id: init.id,
    revision: init.revision,
    occurredAt: init.occurredAt,
    transition: init.transition,
  };
}

/** Ends a stretch that is complete: the runtime commits what was yielded before it together with the cursor. */
export const checkpoint = <C extends Json>(cursor: C): Checkpoint<C> => ({ kind: "checkpoint", cursor });
