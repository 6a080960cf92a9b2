/** Tells a person what is happening: one line when a step takes longer than a second, one when it is done. */
export interface Progress {
  /** Begins a step; the one before it has ended. */
  step(what: string): void;
  /** Ends the step with a line. */
  done(what: string): void;
  /** A line of its own. */
  note(text: string): void;
  /** Ends without a line: an error follows. */
  fail(): void;
}

const PATIENCE_MS = 1000;

export function createProgress(out: { write(text: string): unknown }): Progress {
  let timer: NodeJS.Timeout | undefined;
  const end = (): void => clearTimeout(timer);
  return {
    step: (what) => {
      end();
      timer = setTimeout(() => out.write(`… ${what}\n`), PATIENCE_MS);
      timer.unref();
    },
    done: (what) => {
      end();
      out.write(`✓ ${what}\n`);
    },
    note: (text) => {
      end();
      out.write(`${text}\n`);
    },
    fail: end,
  };
}
