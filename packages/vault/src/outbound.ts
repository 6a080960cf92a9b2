import { lookup as resolveName, type LookupAddress } from "node:dns";
import type { LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";
import { Agent, type Dispatcher, fetch as undiciFetch } from "undici";
import { VaultError } from "./errors.ts";

/** The only way out of the vault. Follows no redirect, retries nothing, and never reaches an address that is not public. */
export interface Outbound {
  /**
   * Sends one request and reads the answer to its end.
   * @throws VaultError url_not_allowed · response_too_large · provider_unavailable (no complete answer).
   */
  fetch(url: URL, request: OutboundRequest): Promise<OutboundResponse>;
  /** Where a logical URL really goes: elsewhere only for origins that are mapped to a sandbox. */
  mapUrl(url: URL): URL;
}

export interface OutboundRequest {
  readonly method: string;
  readonly headers: Headers;
  readonly body?: string;
  /** Ends the request, its answer's body included. */
  readonly signal: AbortSignal;
  /** Bytes of the answer after decompression. */
  readonly bodyBytesMax: number;
}

export interface OutboundResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

export interface OutboundOptions {
  /**
   * Origins of providers and the origins of the sandboxes that stand in for them. Only these may be plain http, and only
   * on loopback. Chosen by who deploys, never by a tenant.
   */
  readonly origins: ReadonlyMap<string, string>;
  /** Answers all addresses of a name. Default: the operating system's resolver. */
  readonly resolve?: Resolve;
}

export type Resolve = (hostname: string, done: (error: Error | null, addresses: LookupAddress[]) => void) => void;

const CONNECT_MS = 10_000;
const CONNECTIONS_PER_ORIGIN_MAX = 64;
/** All headers of an answer together. */
const HEADER_BYTES_MAX = 32 * 1024;

export function createOutbound({ origins, resolve = resolveAll }: OutboundOptions): Outbound {
  for (const [from, to] of origins) assertMapping(from, to);
  const limits = {
    connections: CONNECTIONS_PER_ORIGIN_MAX,
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: 60_000,
    bodyTimeout: 60_000,
  };
  const guarded = new Agent({ ...limits, connect: { timeout: CONNECT_MS, lookup: publicLookup(resolve) } });
  const sandbox = new Agent({ ...limits, connect: { timeout: CONNECT_MS } });

  function mapUrl(url: URL): URL {
    const mapped = origins.get(url.origin);
    return mapped === undefined ? url : onOrigin(url, mapped);
  }

  return {
    mapUrl,
    fetch: async (url, request) => {
      assertHttpsUrl(url);
      const target = mapUrl(url);
      if (target !== url) return send(target, request, sandbox);
      assertPublicLiteral(url.hostname);
      return send(url, request, guarded);
    },
  };
}

/** The same path and query elsewhere. Part by part: a path of "//host" read as text would name another host. */
export function onOrigin(url: URL, origin: string): URL {
  const moved = new URL(origin);
  moved.pathname = url.pathname;
  moved.search = url.search;
  return moved;
}

/** @throws VaultError url_not_allowed for anything that is not plain https without user information. */
export function assertHttpsUrl(url: URL): void {
  if (url.protocol !== "https:" || url.username !== "" || url.password !== "")
    throw new VaultError("url_not_allowed", "only https URLs without user information are allowed");
}

/** Whether an address belongs to the public internet. What embeds an IPv4 address (mapped, NAT64, 6to4, Teredo) does not. */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== "unicast") return false;
  // Of IPv6, only 2000::/3 has been given out (RFC 4291 §2.4); the rest includes the IPv4-compatible ::/96.
  return parsed.kind() === "ipv4" || ((parsed.toByteArray()[0] ?? 0) & 0xe0) === 0x20;
}

/** A literal address never reaches the lookup below, so it is judged here. */
function assertPublicLiteral(hostname: string): void {
  const literal = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  if (ipaddr.isValid(literal) && !isPublicAddress(literal)) throw refusedAddress();
}

/**
 * Judges every address of a name at the moment of connecting, and connects to those very addresses: a name that changes
 * between the check and the use gains nothing. One address that is not public refuses the name.
 */
export function publicLookup(resolve: Resolve): LookupFunction {
  return (hostname, options, callback) =>
    resolve(hostname, (error, addresses) => {
      if (error !== null) return callback(error, []);
      const [first] = addresses;
      if (first === undefined || addresses.some(({ address }) => !isPublicAddress(address)))
        return callback(refusedAddress(), []);
      return options.all === true ? callback(null, addresses) : callback(null, first.address, first.family);
    });
}

const resolveAll: Resolve = (hostname, done) => resolveName(hostname, { all: true }, done);

const refusedAddress = (): VaultError => new VaultError("url_not_allowed", "the address is not a public one");

async function send(url: URL, request: OutboundRequest, dispatcher: Dispatcher): Promise<OutboundResponse> {
  try {
    const response = await undiciFetch(url, {
      method: request.method,
      headers: [...request.headers],
      redirect: "manual",
      signal: request.signal,
      dispatcher,
      ...(request.body === undefined ? {} : { body: request.body }),
    });
    const body = await readAtMost(response.body?.getReader(), request.bodyBytesMax);
    return { status: response.status, headers: new Headers([...response.headers]), body };
  } catch (error) {
    // What the library says may quote the URL, a header or the body: only our own errors pass.
    throw vaultErrorIn(error) ?? new VaultError("provider_unavailable", "the provider gave no complete answer");
  }
}

interface ByteReader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

/** Counts decoded bytes as they come, so that a small answer that unpacks to a large one stops at the limit. */
async function readAtMost(reader: ByteReader | undefined, bytesMax: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true };
    if (done || value === undefined) break;
    size += value.length;
    if (size > bytesMax) {
      await reader?.cancel().catch(() => {});
      throw new VaultError("response_too_large", `the answer has more than ${bytesMax} bytes`);
    }
    chunks.push(value);
  }
  const body = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

/** fetch hides what a lookup said behind causes. */
function vaultErrorIn(error: unknown): VaultError | undefined {
  let current = error;
  for (let depth = 0; depth < 6 && current instanceof Error; depth++) {
    if (current instanceof VaultError) return current;
    current = current.cause;
  }
  return undefined;
}

/** @throws TypeError: a mapping is configuration, and a wrong one must stop the start. */
function assertMapping(from: string, to: string): void {
  const [source, target] = [new URL(from), new URL(to)];
  if (source.origin !== from || source.protocol !== "https:") throw new TypeError(`not an https origin: ${from}`);
  if (target.origin !== to) throw new TypeError(`not an origin: ${to}`);
  const loopback = ["127.0.0.1", "[::1]", "localhost"].includes(target.hostname);
  if (target.protocol !== "https:" && !loopback) throw new TypeError(`plain http is for loopback only: ${to}`);
}
