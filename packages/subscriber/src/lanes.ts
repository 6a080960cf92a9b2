/**
 * A lane for each connection: its tasks run one after the other, in the order they came; lanes run side by side, so
 * many at a time. A task that waits (for a retry) gives its place to another lane meanwhile, and holds its successors.
 */
export interface Lanes<Task> {
  push(lane: string, task: Task): void;
  /** Lanes that have not come to their end. */
  readonly running: number;
  /** Resolves when nothing runs and nothing waits. */
  idle(): Promise<void>;
  /** Takes back what has not begun. */
  clear(): readonly Task[];
}

/** What a running task can do with its place. */
export interface Place {
  /** Gives the place up for as long as `waiting` takes. */
  yieldFor(waiting: Promise<void>): Promise<void>;
}

export function createLanes<Task>(concurrency: number, work: (task: Task, place: Place) => Promise<void>): Lanes<Task> {
  const queues = new Map<string, Task[]>();
  const waiting: (() => void)[] = [];
  const idlers: (() => void)[] = [];
  let free = concurrency;

  /** A promise only for who has to wait. */
  function enter(): Promise<void> | undefined {
    if (free === 0) return new Promise<void>((resolve) => waiting.push(resolve));
    free--;
    return undefined;
  }
  function leave(): void {
    const next = waiting.shift();
    if (next === undefined) free++;
    else next();
  }
  const place: Place = {
    yieldFor: async (pause) => {
      leave();
      try {
        await pause;
      } finally {
        await enter();
      }
    },
  };

  async function run(lane: string, queue: Task[]): Promise<void> {
    for (;;) {
      const waits = enter();
      if (waits !== undefined) await waits;
      const task = queue.shift();
      if (task === undefined) {
        leave();
        break;
      }
      try {
        await work(task, place);
      } finally {
        leave();
      }
    }
    queues.delete(lane);
    if (queues.size === 0) for (const resolve of idlers.splice(0)) resolve();
  }

  return {
    push: (lane, task) => {
      const queue = queues.get(lane);
      if (queue !== undefined) {
        queue.push(task);
        return;
      }
      const created = [task];
      queues.set(lane, created);
      void run(lane, created);
    },
    get running() {
      return queues.size;
    },
    idle: () => (queues.size === 0 ? Promise.resolve() : new Promise((resolve) => idlers.push(resolve))),
    clear: () => [...queues.values()].flatMap((queue) => queue.splice(0)),
  };
}
