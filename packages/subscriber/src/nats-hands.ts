import type { JsMsg } from "@nats-io/jetstream";

/** One life of a consumer, as far as this process can tell: what was received in it can be answered in it only. */
interface Life {
  /** Id of the server process that was spoken to. */
  readonly server: string | undefined;
  /** The consumer's own count of its deliveries. */
  delivered: number;
}

/** An event in hand: its latest delivery, which is the one to answer. */
export interface Held {
  message: JsMsg;
  life: Life;
}

/**
 * What was received and not settled, and the answers to the broker.
 *
 * The broker knows a delivery by its place in the stream alone: after its store was rolled back, or the consumer made
 * anew, an answer to an earlier delivery would settle whatever has the place now, which nobody has handled. So nothing is
 * answered in another life than it was received in: it comes again, and is then known by its id. An earlier life is told
 * by the server's id, which changes with each start; behind another server of a cluster, which goes on, by the day the
 * consumer was made, and by its count of deliveries, which never goes back in one life.
 */
export interface Hands {
  /** The consumer as the broker describes it. @param created changes when it is made anew. */
  consumer(created: string): void;
  take(message: JsMsg): Held;
  /** It was delivered again: from now on that is the delivery to answer. */
  renew(held: Held, message: JsMsg): void;
  /** Those of which nothing was said yet. */
  readonly open: ReadonlySet<Held>;
  /** Nothing is to be said of this one. */
  forget(held: Held): void;
  acknowledge(held: Held): void;
  /** It is nobody's: the broker shall not send it again. */
  refuse(held: Held): void;
  /** Somebody else shall have it at once. */
  giveBack(held: Held): void;
  /** Says of each that it is being worked on. */
  working(): void;
  /** Says now what was to be said at the end of this turn. */
  flush(): void;
}

/** @param server id of the server process that is spoken to now. */
export function createHands(server: () => string | undefined): Hands {
  const open = new Set<Held>();
  let due: Held[] = [];
  let life: Life = { server: undefined, delivered: 0 };
  let made: string | undefined;

  const begin = (): void => void (life = { server: server(), delivered: 0 });
  const lives = ({ life: of }: Held): boolean => of === life && of.server === server();

  function lifeOf({ info: { deliverySequence } }: JsMsg): Life {
    if (life.server !== server() || deliverySequence <= life.delivered) begin();
    life.delivered = deliverySequence;
    return life;
  }

  /**
   * Acknowledgements of one turn of the event loop leave together: each for itself is a write to the socket, which was
   * the largest part of a subscriber's work.
   */
  function flush(): void {
    const held = due;
    due = [];
    for (const one of held) if (lives(one)) one.message.ack();
  }

  return {
    open,
    consumer: (created) => {
      if (made !== created) begin();
      made = created;
    },
    take: (message) => {
      const held = { message, life: lifeOf(message) };
      open.add(held);
      return held;
    },
    renew: (held, message) => {
      held.life = lifeOf(message);
      held.message = message;
    },
    forget: (held) => void open.delete(held),
    acknowledge: (held) => {
      open.delete(held);
      if (due.push(held) === 1) setImmediate(flush);
    },
    refuse: (held) => {
      open.delete(held);
      if (lives(held)) held.message.term();
    },
    giveBack: (held) => {
      open.delete(held);
      if (lives(held)) held.message.nak();
    },
    working: () => {
      for (const held of open) if (lives(held)) held.message.working();
    },
    flush,
  };
}
