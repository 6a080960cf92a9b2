import { connect, createServer, type Socket } from "node:net";

/** Which way bytes go: to the server that was dialled, or back to who dialled it. */
export type Direction = "there" | "back";

/** What becomes of bytes that were held: they come late, or never, and then their connection is reset. */
export type HeldEnd = "late" | "lost";

/**
 * A way to a server on which bytes can be held up, torn and lost, as networks do it: what comes through comes whole and in
 * order up to where a connection ends. Connections are always accepted, and end when the server refuses them.
 */
export interface Wire {
  readonly port: number;
  /** Ends every connection at both ends, with RST or with FIN. @returns how many there were. */
  cut(how: "reset" | "end"): number;
  /**
   * Holds what goes these ways, ends of connections as well, also of those that begin meanwhile. One stall at a time.
   * @returns a function that ends it.
   */
  stall(ways: readonly Direction[]): (end: HeldEnd) => void;
  /**
   * Holds what is said there on the connections of now. New connections are as ever. @returns a function by which who said
   * it finds them reset, and the server does not; it returns one that lets come late what was held.
   */
  strand(): () => () => void;
  /** Every piece takes so much longer, from now on. */
  slow(ms: number): void;
  /**
   * Lets half of the next piece that goes this way and whose text is like this through, and resets the connection.
   * @returns whether there was one within the time.
   */
  tear(way: Direction, ms: number, like?: RegExp): Promise<boolean>;
  /** Lets nothing through but by connections that have said such a thing; the others are reset. @returns what ends it. */
  refuseBut(said: RegExp): () => void;
  close(): Promise<void>;
}

/** One way of one connection: pieces wait here for as long as it is held. */
interface Flow {
  held: boolean;
  push(piece: Uint8Array | "end"): void;
  go(): void;
}

interface Line {
  readonly flows: Readonly<Record<Direction, Flow>>;
  /** What was said first, as far as it may be asked for. */
  said: string;
  /** For who dialled; the server does not hear of it as long as its way there is held. */
  resetNear(): void;
  reset(): void;
  end(): void;
}

interface Tear {
  readonly way: Direction;
  readonly like: RegExp;
  readonly torn: () => void;
}

const SAID_MAX = 4_096;

const textOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");

/** @param target the server's port on this machine. */
export async function openWire(target: number): Promise<Wire> {
  const lines = new Set<Line>();
  const stalled = new Set<Direction>();
  let slowMs = 0;
  let tear: Tear | undefined;
  let spared: RegExp | undefined;

  /** @returns how much of a piece goes through; undefined for all of it. */
  function torn(way: Direction, piece: Uint8Array): number | undefined {
    if (tear?.way !== way || piece.length < 2 || !tear.like.test(textOf(piece))) return undefined;
    tear.torn();
    tear = undefined;
    return Math.ceil(piece.length / 2);
  }

  function createFlow(to: Socket, way: Direction): Flow {
    const waiting: { readonly piece: Uint8Array | "end"; readonly at: number }[] = [];
    let timer: NodeJS.Timeout | undefined;
    const go = (): void => {
      clearTimeout(timer);
      for (let next = waiting[0]; next !== undefined && !flow.held; next = waiting[0]) {
        const leftMs = next.at - performance.now();
        if (leftMs > 0) {
          timer = setTimeout(go, Math.ceil(leftMs));
          return;
        }
        waiting.shift();
        if (next.piece === "end") to.end();
        else if (!to.destroyed) to.write(next.piece);
      }
    };
    const flow: Flow = {
      held: stalled.has(way),
      push: (piece) => {
        waiting.push({ piece, at: slowMs === 0 && waiting.length === 0 ? 0 : performance.now() + slowMs });
        go();
      },
      go,
    };
    return flow;
  }

  function take(near: Socket): void {
    const far = connect({ port: target, host: "127.0.0.1", noDelay: true });
    const flows = { there: createFlow(far, "there"), back: createFlow(near, "back") };
    const line: Line = {
      flows,
      said: "",
      resetNear: () => void near.resetAndDestroy(),
      reset: () => {
        near.resetAndDestroy();
        far.resetAndDestroy();
      },
      end: () => {
        near.end();
        far.end();
      },
    };
    lines.add(line);
    for (const [from, way] of [
      [near, "there"],
      [far, "back"],
    ] as const) {
      from.on("data", (piece: Uint8Array) => {
        if (way === "there" && line.said.length < SAID_MAX) line.said += textOf(piece);
        if (spared?.test(line.said) === false) return line.reset();
        const through = torn(way, piece);
        flows[way].push(through === undefined ? piece : piece.subarray(0, through));
        // With RST to both, the half that got through might not be read.
        if (through !== undefined) from.resetAndDestroy();
      });
      from.on("error", () => {});
      // That one end is gone is heard by the other behind everything that it said.
      from.once("close", () => {
        flows[way].push("end");
        if (near.destroyed && far.destroyed) lines.delete(line);
      });
    }
  }

  const server = createServer({ noDelay: true }, take);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { port: number }).port,
    cut: (how) => {
      const { size } = lines;
      for (const line of lines) line[how]();
      return size;
    },
    stall: (ways) => {
      const hold = (held: boolean): void => {
        for (const way of ways) {
          if (held) stalled.add(way);
          else stalled.delete(way);
          for (const { flows } of lines) flows[way].held = held;
        }
      };
      hold(true);
      return (end) => {
        const before = [...lines];
        if (end === "lost") for (const line of before) line.reset();
        hold(false);
        if (end === "late") for (const { flows } of before) for (const way of ways) flows[way].go();
      };
    },
    strand: () => {
      const stranded = [...lines];
      for (const { flows } of stranded) flows.there.held = true;
      return () => {
        for (const line of stranded) line.resetNear();
        return () => {
          for (const { flows } of stranded) {
            flows.there.held = false;
            flows.there.go();
          }
        };
      };
    },
    slow: (ms) => void (slowMs = ms),
    tear: (way, ms, like = /[^]/) => {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      const mine: Tear = { way, like, torn: () => resolve(true) };
      tear = mine;
      const late = setTimeout(() => {
        if (tear === mine) tear = undefined;
        resolve(false);
      }, ms);
      return promise.finally(() => clearTimeout(late));
    },
    refuseBut: (said) => {
      spared = said;
      for (const line of lines) if (!said.test(line.said)) line.reset();
      return () => void (spared = undefined);
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const line of lines) line.reset();
      await closed;
    },
  };
}
