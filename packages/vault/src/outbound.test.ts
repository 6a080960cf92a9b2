import { type LookupAddress } from "node:dns";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createOutbound, isPublicAddress, publicLookup } from "./outbound.ts";

/** Listens where nobody may come, and counts who does. */
let connections = 0;
const canary = createServer((socket) => {
  connections++;
  socket.destroy();
});
let port = 0;
beforeAll(async () => {
  await new Promise<void>((resolve) => canary.listen(0, "0.0.0.0", resolve));
  ({ port } = canary.address() as AddressInfo);
});
afterAll(() => new Promise<void>((resolve) => canary.close(() => resolve())));

const request = () => ({
  method: "GET",
  headers: new Headers(),
  signal: AbortSignal.timeout(2000),
  bodyBytesMax: 1000,
});
const answers = (...addresses: string[]) => {
  const family = (address: string) => (address.includes(":") ? 6 : 4);
  return (_: string, done: (error: Error | null, found: LookupAddress[]) => void) =>
    done(
      null,
      addresses.map((address) => ({ address, family: family(address) })),
    );
};

describe("an address", () => {
  const inside = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
    "nonsense",
    "",
  ];
  it.each(inside)("%j is not public", (address) => expect(isPublicAddress(address)).toBe(false));
  it.each(["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "2a00:1450::1"])(
    "%s is public",
    (address) => expect(isPublicAddress(address)).toBe(true),
  );
});

describe("a request out", () => {
  const spellings = [
    "127.0.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "127.1",
    "0177.0.0.1",
    "①②⑦.⓪.⓪.①",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::]",
    "0.0.0.0",
    "localhost",
  ];
  it.each(spellings)("to https://%s reaches nobody", async (host) => {
    const outbound = createOutbound({ origins: new Map() });
    await expect(outbound.fetch(new URL(`https://${host}:${port}/`), request())).rejects.toMatchObject({
      code: "url_not_allowed",
    });
    expect(connections).toBe(0);
  });

  it.each([["10.0.0.1"], ["::1"], ["169.254.169.254"], ["8.8.8.8", "127.0.0.1"], []])(
    "to a name that resolves to %j is refused at the moment of connecting",
    async (...addresses) => {
      const outbound = createOutbound({ origins: new Map(), resolve: answers(...addresses) });
      await expect(outbound.fetch(new URL("https://name.example.com"), request())).rejects.toMatchObject({
        code: "url_not_allowed",
      });
    },
  );

  it("is judged again at every connection: a name that changes its mind gains nothing", async () => {
    const flips = ["8.8.8.8", "127.0.0.1"];
    const lookup = publicLookup((name, done) => answers(flips.shift() ?? "")(name, done));
    const ask = () =>
      new Promise((resolve) => lookup("name.example.com", { all: true }, (error, found) => resolve(error ?? found)));
    expect(await ask()).toEqual([{ address: "8.8.8.8", family: 4 }]);
    expect(await ask()).toMatchObject({ code: "url_not_allowed" });
  });

  it("hands on the very address that was judged, in either form that sockets ask for", () => {
    const lookup = publicLookup(answers("1.1.1.1", "2606:4700::1111"));
    lookup("name.example.com", {}, (error, address, family) =>
      expect([error, address, family]).toEqual([null, "1.1.1.1", 4]),
    );
    lookup("name.example.com", { all: true }, (_, found) => expect(found).toHaveLength(2));
  });

  it("to a name that does not resolve is unavailable", async () => {
    const outbound = createOutbound({ origins: new Map(), resolve: (_, done) => done(new Error("ENOTFOUND"), []) });
    await expect(outbound.fetch(new URL("https://name.example.com"), request())).rejects.toMatchObject({
      code: "provider_unavailable",
    });
  });

  it.each([
    "http://127.0.0.1/",
    "http://name.example.com/",
    "ftp://name.example.com/",
    "https://me@name.example.com/",
    "https://:x@name.example.com/",
  ])("to %s is refused", (url) => {
    const outbound = createOutbound({ origins: new Map(), resolve: answers("8.8.8.8") });
    return expect(outbound.fetch(new URL(url), request())).rejects.toMatchObject({ code: "url_not_allowed" });
  });
});

describe("a mapping to a sandbox", () => {
  it("moves exactly its origin", () => {
    const outbound = createOutbound({ origins: new Map([["https://api.example.com", "http://127.0.0.1:4610"]]) });
    expect(outbound.mapUrl(new URL("https://api.example.com/a/b?c=d")).href).toBe("http://127.0.0.1:4610/a/b?c=d");
    for (const url of [
      "https://api.example.com:444/a",
      "http://api.example.com/a",
      "https://api.example.com.evil.example.com/",
    ])
      expect(outbound.mapUrl(new URL(url)).href).toBe(url);
    expect(outbound.mapUrl(new URL("https://api.example.com//evil.example.com/x")).host).toBe("127.0.0.1:4610");
  });

  it.each([
    ["http://api.example.com", "http://127.0.0.1:1"],
    ["https://api.example.com/path", "http://127.0.0.1:1"],
    ["https://api.example.com", "http://10.0.0.1:1"],
    ["https://api.example.com", "http://sandbox.example.com"],
    ["https://api.example.com", "http://127.0.0.1:1/path"],
  ])("from %s to %s stops the start", (from, to) => {
    expect(() => createOutbound({ origins: new Map([[from, to]]) })).toThrow(TypeError);
  });
});
