import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  contextBytes,
  isSignedPublicKey,
  keyCheckValue,
  newKeyPair,
  openDataKey,
  openSecret,
  type SealedSecret,
  sealSecret,
  signPublicKey,
  unwrap,
  verifyKeyOf,
  wipe,
  wrap,
} from "./seal.ts";

const text = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : Buffer.from(bytes).toString());
const pair = newKeyPair();
const context = contextBytes("vault/v1", "acme", "tasks");

function open(secret: SealedSecret, at = context, privateKey = pair.privateKey): string | undefined {
  const dataKey = openDataKey(secret, at, privateKey);
  return dataKey === undefined ? undefined : text(openSecret(secret, at, dataKey));
}

describe("a context", () => {
  it("is another one for every other list of parts", () => {
    // Few characters, the zero among them: what a delimiter or a padding would confuse comes up often.
    const parts = fc.array(fc.string({ unit: fc.constantFrom("\0", "a", "|"), maxLength: 9 }), { maxLength: 4 });
    fc.assert(
      fc.property(parts, parts, (one, other) => {
        const equal = Buffer.compare(contextBytes(...one), contextBytes(...other)) === 0;
        expect(equal).toBe(JSON.stringify(one) === JSON.stringify(other));
      }),
      { numRuns: 20_000 },
    );
  });

  it("keeps apart what a delimiter would join", () => {
    const lists = [
      ["a\0\0\0\0b"],
      ["a|b", "c"],
      ["a", "b|c"],
      ["ab", "c"],
      ["a", "b"],
      ["a", "bc"],
      ["abc"],
      ["", "abc"],
      ["abc", ""],
      ["a", "b", "c"],
      [],
    ];
    expect(new Set(lists.map((parts) => Buffer.from(contextBytes(...parts)).toString("hex"))).size).toBe(lists.length);
  });

  it("is refused for text that two ids could share", () => {
    expect(() => contextBytes("\ud800")).toThrow(TypeError);
  });
});

describe("a sealed secret", () => {
  it("opens to what was sealed, whatever it was", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (plaintext) => {
        const secret = sealSecret(plaintext, context, pair.publicKey);
        const dataKey = openDataKey(secret, context, pair.privateKey) ?? new Uint8Array();
        expect(openSecret(secret, context, dataKey)).toEqual(plaintext);
      }),
      { numRuns: 200 },
    );
  });

  it("is different every time, and shows nothing of its content", () => {
    const sealed = Array.from({ length: 50 }, () => sealSecret(Buffer.from("canary"), context, pair.publicKey));
    for (const field of ["nonce", "ciphertext", "sealed"] as const)
      expect(new Set(sealed.map((secret) => Buffer.from(secret[field]).toString("hex"))).size).toBe(50);
    expect(sealed.some(({ ciphertext, sealed: box }) => Buffer.concat([ciphertext, box]).includes("canary"))).toBe(
      false,
    );
  });

  it("does not open when any bit of it or of its context is another", () => {
    const secret = sealSecret(Buffer.from("canary"), context, pair.publicKey);
    for (const field of ["nonce", "ciphertext", "sealed"] as const)
      for (let bit = 0; bit < secret[field].length * 8; bit++)
        expect(open({ ...secret, [field]: flipped(secret[field], bit) })).toBeUndefined();
    for (let bit = 0; bit < context.length * 8; bit++) expect(open(secret, flipped(context, bit))).toBeUndefined();
    expect(openDataKey(secret, contextBytes("vault/v1", "globex", "tasks"), pair.privateKey)).toBeUndefined();
    expect(open({ ...secret, alg: "none" })).toBeUndefined();
    expect(open(secret, context, newKeyPair().privateKey)).toBeUndefined();
    expect(open(secret)).toBe("canary");
  });

  it("is refused, without a crash, when it is cut or padded", () => {
    const secret = sealSecret(Buffer.from("canary"), context, pair.publicKey);
    for (const field of ["nonce", "ciphertext", "sealed"] as const)
      for (let length = 0; length <= secret[field].length + 2; length++) {
        if (length === secret[field].length) continue;
        const cut = Buffer.alloc(length);
        cut.set(secret[field].subarray(0, length));
        expect(open({ ...secret, [field]: cut })).toBeUndefined();
      }
    for (const length of [0, 31, 33]) expect(openSecret(secret, context, new Uint8Array(length))).toBeUndefined();
  });

  it("cannot be made of the ciphertext of one and the box of another", () => {
    const secrets = Array.from({ length: 40 }, (_, index) => {
      const at = contextBytes("vault/v1", `credential-${index}`);
      return { at, secret: sealSecret(Buffer.from("canary"), at, pair.publicKey) };
    });
    let opened = 0;
    for (const one of secrets)
      for (const other of secrets) {
        if (one === other) continue;
        for (const mix of [
          { ...one.secret, sealed: other.secret.sealed },
          { ...one.secret, ciphertext: other.secret.ciphertext },
          { ...one.secret, ciphertext: other.secret.ciphertext, nonce: other.secret.nonce },
        ])
          for (const { at } of [one, other]) opened += open(mix, at) === undefined ? 0 : 1;
      }
    expect(opened).toBe(0);
  });
});

describe("a wrapped key", () => {
  it("unwraps with its own key and context only", () => {
    const [key, other] = [randomBytes(32), randomBytes(32)];
    const wrapped = wrap(Buffer.from("canary"), context, key);
    expect(text(unwrap(wrapped, context, key))).toBe("canary");
    expect(unwrap(wrapped, context, other)).toBeUndefined();
    expect(unwrap(wrapped, contextBytes("vault/v1", "acme"), key)).toBeUndefined();
    expect(unwrap({ ...wrapped, wrapped: wrapped.wrapped.subarray(0, 10) }, context, key)).toBeUndefined();
  });
});

describe("a signed public key", () => {
  const seed = randomBytes(32);
  const signature = signPublicKey(pair.publicKey, context, seed);
  const cases: [string, Uint8Array, Uint8Array, Uint8Array, Uint8Array, boolean][] = [
    ["itself", pair.publicKey, signature, context, verifyKeyOf(seed), true],
    ["another key", newKeyPair().publicKey, signature, context, verifyKeyOf(seed), false],
    ["another subject", pair.publicKey, signature, contextBytes("globex"), verifyKeyOf(seed), false],
    ["another signer", pair.publicKey, signature, context, verifyKeyOf(randomBytes(32)), false],
    ["a cut signature", pair.publicKey, signature.subarray(0, 63), context, verifyKeyOf(seed), false],
    ["a cut key", pair.publicKey.subarray(0, 31), signature, context, verifyKeyOf(seed), false],
  ];
  it.each(cases)("is trusted only as it was signed: %s", (_, key, by, at, verifyKey, trusted) => {
    expect(isSignedPublicKey(key, by, at, verifyKey)).toBe(trusted);
  });
});

it("a check value tells keys and ids apart", () => {
  const key = randomBytes(32);
  const values = [
    keyCheckValue("a", key),
    keyCheckValue("b", key),
    keyCheckValue("a", randomBytes(32)),
    keyCheckValue("a", key),
  ];
  expect(new Set(values.map((value) => Buffer.from(value).toString("hex"))).size).toBe(3);
});

it("wiping leaves zeroes", () => {
  const bytes = randomBytes(32);
  wipe(bytes);
  expect(bytes).toEqual(Buffer.alloc(32));
});

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}
