import type { LookupAddress } from "node:dns";
import { createServer as createHttpServer, type ServerResponse } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createOutbound } from "./outbound.ts";

/** Listens on every address of this machine, where nobody may come, and counts who does and what is said. */
const reached = { connections: 0, bytes: 0 };
const canary = createServer((socket) => {
  reached.connections++;
  socket.on("data", (data) => (reached.bytes += data.length)).on("error", () => {});
});
/** A provider that answers as it should not, reached by a mapping, as a sandbox is. */
const answers = new Map<string, (response: ServerResponse) => void>();
const rude = createHttpServer((request, response) => answers.get(request.url ?? "")?.(response));
let port = 0;
beforeAll(async () => {
  await new Promise<void>((resolve) => canary.listen(0, resolve));
  await new Promise<void>((resolve) => rude.listen(0, "127.0.0.1", resolve));
  port = (canary.address() as AddressInfo).port;
});
afterAll(async () => {
  rude.closeAllConnections();
  await Promise.all([canary, rude].map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
});

const request = (ms = 20_000) => ({
  method: "GET",
  headers: new Headers({ authorization: "Bearer canary" }),
  signal: AbortSignal.timeout(ms),
  bodyBytesMax: 1024 * 1024,
});

type Bytes = readonly [number, number, number, number];

/** One address of every range that is not the public internet. */
const RANGES: readonly (readonly [string, Bytes])[] = [
  ["loopback", [127, 0, 0, 1]],
  ["loopback, far end", [127, 255, 255, 254]],
  ["unspecified", [0, 0, 0, 0]],
  ["this network", [0, 1, 2, 3]],
  ["private 10/8", [10, 0, 0, 1]],
  ["private 172.16/12", [172, 31, 255, 255]],
  ["private 192.168/16", [192, 168, 1, 1]],
  ["link-local: cloud metadata", [169, 254, 169, 254]],
  ["carrier-grade NAT", [100, 64, 0, 1]],
  ["carrier-grade NAT: cloud metadata", [100, 100, 100, 200]],
  ["IETF assignments", [192, 0, 0, 8]],
  ["documentation 1", [192, 0, 2, 1]],
  ["documentation 2", [198, 51, 100, 1]],
  ["documentation 3", [203, 0, 113, 1]],
  ["6to4 relays", [192, 88, 99, 1]],
  ["benchmarking", [198, 19, 255, 254]],
  ["multicast", [224, 0, 0, 1]],
  ["reserved", [240, 0, 0, 1]],
  ["broadcast", [255, 255, 255, 255]],
];

const number = ([a, b, c, d]: Bytes): number => a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d;
const group = (high: number, low: number): string => (high * 256 + low).toString(16);
const hexGroups = ([a, b, c, d]: Bytes): string => `${group(a, b)}:${group(c, d)}`;
const digits = (text: string, of: string): string =>
  text.replaceAll(/\d/g, (digit) => Array.from(of)[Number(digit)] ?? "");
const octal = (byte: number): string => `0${byte.toString(8)}`;

/** What an attacker writes for an address; a URL parser understands most of them. */
const SPELLINGS: readonly (readonly [string, (bytes: Bytes) => string])[] = [
  ["dotted", (bytes) => bytes.join(".")],
  ["with a dot at the end", (bytes) => `${bytes.join(".")}.`],
  ["decimal", (bytes) => String(number(bytes))],
  ["hexadecimal", (bytes) => `0x${number(bytes).toString(16)}`],
  ["octal", (bytes) => octal(number(bytes))],
  ["dotted hexadecimal", (bytes) => bytes.map((byte) => `0x${byte.toString(16)}`).join(".")],
  ["dotted octal", (bytes) => bytes.map(octal).join(".")],
  ["mixed", ([a, b, c, d]) => `0x${a.toString(16)}.${octal(b)}.${c * 256 + d}`],
  ["three parts", ([a, b, c, d]) => `${a}.${b}.${c * 256 + d}`],
  ["two parts", ([a, b, c, d]) => `${a}.${b * 65_536 + c * 256 + d}`],
  ["wide digits", (bytes) => digits(bytes.join("."), "０１２３４５６７８９")],
  ["circled digits", (bytes) => digits(bytes.join("."), "⓪①②③④⑤⑥⑦⑧⑨")],
  ["ideographic dots", (bytes) => bytes.join("。")],
  ["percent-encoded", (bytes) => bytes.join(".").replaceAll(/\d/g, (digit) => `%3${digit}`)],
  ["IPv4-mapped, dotted", (bytes) => `[::ffff:${bytes.join(".")}]`],
  ["IPv4-mapped, in groups", (bytes) => `[0:0:0:0:0:ffff:${hexGroups(bytes)}]`],
  ["IPv4-translated", (bytes) => `[::ffff:0:${hexGroups(bytes)}]`],
  ["IPv4-compatible", (bytes) => `[::${bytes.join(".")}]`],
  ["NAT64", (bytes) => `[64:ff9b::${bytes.join(".")}]`],
  ["local NAT64", (bytes) => `[64:ff9b:1::${bytes.join(".")}]`],
  ["6to4", (bytes) => `[2002:${hexGroups(bytes)}::1]`],
  ["Teredo", ([a, b, c, d]) => `[2001::4136:e378:8000:63bf:${group(255 - a, 255 - b)}:${group(255 - c, 255 - d)}]`],
];

const resolvingTo = (address: string) => (_: string, done: (error: null, found: LookupAddress[]) => void) =>
  done(null, [{ address, family: address.includes(":") ? 6 : 4 }]);

describe("what is not the public internet", () => {
  const outbound = createOutbound({ origins: new Map() });

  it.each(RANGES)("(%s) is reached by no spelling of its addresses", async (_, bytes) => {
    let parsed = 0;
    for (const [, spell] of SPELLINGS) {
      const url = URL.parse(`https://${spell(bytes)}:${port}/`);
      if (url === null) continue;
      parsed++;
      await expect(outbound.fetch(url, request())).rejects.toMatchObject({ code: "url_not_allowed" });
    }
    // A spelling that the parser refuses proves nothing: most must be judged by us.
    expect(parsed).toBeGreaterThanOrEqual(18);
    expect(reached).toEqual({ connections: 0, bytes: 0 });
  });

  it.each(RANGES)("(%s) is reached by no name that resolves there", async (_, bytes) => {
    const literals = SPELLINGS.map(([, spell]) => spell(bytes)).filter((host) => host.startsWith("["));
    for (const address of [bytes.join("."), ...literals.map((host) => host.slice(1, -1))]) {
      const resolved = createOutbound({ origins: new Map(), resolve: resolvingTo(address) });
      const url = new URL(`https://name.example.com:${port}/`);
      await expect(resolved.fetch(url, request())).rejects.toMatchObject({ code: "url_not_allowed" });
    }
    expect(reached).toEqual({ connections: 0, bytes: 0 });
  });

  it("is reached by no name that resolves elsewhere first and there afterwards", async () => {
    let asked = 0;
    const flipping = createOutbound({
      origins: new Map(),
      // The first answer is public: the connection is tried there and nowhere else.
      resolve: (name, done) => resolvingTo(asked++ === 0 ? "2606:4700::1111" : "127.0.0.1")(name, done),
    });
    // The same name at another port: where the network swallows the first connection, the next ones would wait behind it.
    const elsewhere = new URL("https://name.example.com:444/");
    await expect(flipping.fetch(elsewhere, request(300))).rejects.toMatchObject({ code: "provider_unavailable" });
    const url = new URL(`https://name.example.com:${port}/`);
    for (let attempt = 0; attempt < 3; attempt++)
      await expect(flipping.fetch(url, request())).rejects.toMatchObject({ code: "url_not_allowed" });
    expect(asked).toBe(4);
    expect(reached).toEqual({ connections: 0, bytes: 0 });
  });
});

describe("an answer that does not end well", () => {
  const zeros = Buffer.alloc(50 * 1024 * 1024);
  const bombs: readonly [string, () => Buffer][] = [
    ["gzip", () => gzipSync(zeros, { level: 9 })],
    ["br", () => brotliCompressSync(zeros)],
    ["gzip, gzip", () => gzipSync(gzipSync(zeros, { level: 9 }))],
  ];
  const mapped = () => {
    const { port: at } = rude.address() as AddressInfo;
    return createOutbound({ origins: new Map([["https://rude.example.com", `http://127.0.0.1:${at}`]]) });
  };
  const url = (path: string) => new URL(`https://rude.example.com/${path}`);

  it.each(bombs)("is refused quickly when it unpacks to 50 MB (%s)", async (encoding, pack) => {
    const bomb = pack();
    expect(bomb.length).toBeLessThan(60 * 1024);
    answers.set("/bomb", (response) => response.writeHead(200, { "content-encoding": encoding }).end(bomb));
    const [startedAt, rssBefore] = [performance.now(), process.memoryUsage.rss()];
    await expect(mapped().fetch(url("bomb"), request())).rejects.toMatchObject({ code: "response_too_large" });
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(process.memoryUsage.rss() - rssBefore).toBeLessThan(48 * 1024 * 1024);
  });

  it.each([
    ["one header of 64 KiB", { "x-big": "a".repeat(64 * 1024) }],
    ["a thousand headers", Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`x-${n}`, "a".repeat(60)]))],
  ])("is no answer with %s", async (_, headers) => {
    answers.set("/headers", (response) => response.writeHead(200, headers).end("{}"));
    await expect(mapped().fetch(url("headers"), request())).rejects.toMatchObject({ code: "provider_unavailable" });
  });

  it.each([
    ["headers", (response: ServerResponse) => response.writeHead(200)],
    ["nothing at all", () => {}],
    ["a byte now and then", drip],
  ])("is given up at the deadline when it sends %s", async (_, answer) => {
    answers.set("/slow", answer);
    const startedAt = performance.now();
    await expect(mapped().fetch(url("slow"), request(300))).rejects.toMatchObject({ code: "provider_unavailable" });
    // The library's own limit is a minute.
    expect(performance.now() - startedAt).toBeLessThan(20_000);
  });

  it.each([301, 302, 303, 307, 308])("redirects nowhere by itself (%i)", async (status) => {
    answers.set("/away", (response) => response.writeHead(status, { location: `https://127.0.0.1:${port}/` }).end());
    expect((await mapped().fetch(url("away"), request())).status).toBe(status);
    expect(reached).toEqual({ connections: 0, bytes: 0 });
  });
});

function drip(response: ServerResponse): void {
  response.writeHead(200);
  const timer = setInterval(() => response.write("."), 20);
  response.on("close", () => clearInterval(timer));
}
