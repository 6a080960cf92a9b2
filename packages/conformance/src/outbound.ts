import { channel } from "node:diagnostics_channel";

/** Sees every HTTP request of this process, whoever makes it: the vault, `fetch`, or `node:http`. */
export interface OutboundWatch {
  /** Origins that were asked, without those that are expected. */
  readonly foreign: ReadonlySet<string>;
  stop(): void;
}

export function watchOutbound(expected: readonly string[]): OutboundWatch {
  const foreign = new Set<string>();
  const note = (origin: string): void => void (expected.includes(origin) || foreign.add(origin));
  const onUndici = (message: unknown): void => {
    const { origin } = (message as { request: { origin: string | URL } }).request;
    note(new URL(origin).origin);
  };
  const onHttp = (message: unknown): void => {
    const { request } = message as {
      request: { protocol: string; host: string; getHeader(name: string): string | undefined };
    };
    note(`${request.protocol}//${request.getHeader("host") ?? request.host}`);
  };
  const [undici, http] = [channel("undici:request:create"), channel("http.client.request.start")];
  undici.subscribe(onUndici);
  http.subscribe(onHttp);
  return {
    foreign,
    stop: () => {
      undici.unsubscribe(onUndici);
      http.unsubscribe(onHttp);
    },
  };
}
