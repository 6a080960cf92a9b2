/** Looks for a secret in bytes, however it may have been written down. */
export interface SecretSearch {
  /** The ways in which it is there; empty is what is wanted. */
  in(bytes: Uint8Array): readonly string[];
}

/** @param secret of ASCII characters, at least 12 of them, so that no encoding of it comes about by chance. */
export function searchFor(secret: string): SecretSearch {
  if (secret.length < 12) throw new RangeError("the secret is too short to be searched for");
  const bytes = Buffer.from(secret, "latin1");
  const hex = bytes.toString("hex");
  const spellings: [string, string][] = [
    ["plain", secret],
    ["hex", hex],
    ["hex", hex.toUpperCase()],
    // Both byte orders: the outermost zero is left out.
    ["UTF-16", secret.split("").join("\0")],
    ["URL-encoded", hex.replaceAll(/../g, "%$&")],
    ["URL-encoded", hex.replaceAll(/../g, "%$&").toUpperCase()],
    ["reversed", secret.split("").toReversed().join("")],
    ...[0, 1, 2].flatMap((before): [string, string][] => {
      const base64 = base64Inside(bytes, before);
      return [
        ["base64", base64],
        ["base64url", base64.replaceAll("+", "-").replaceAll("/", "_")],
      ];
    }),
  ];
  const needles = spellings.map(([name, text]) => [name, Buffer.from(text, "latin1")] as const);
  return {
    in: (haystack) => {
      const where = Buffer.from(haystack.buffer, haystack.byteOffset, haystack.byteLength);
      return [...new Set(needles.filter(([, needle]) => where.includes(needle)).map(([name]) => name))];
    },
  };
}

/** The characters that are the same whatever stands before and after, when `before` bytes of a group of 3 stand before. */
function base64Inside(bytes: Buffer, before: number): string {
  const whole = Math.floor((before + bytes.length) / 3) * 4;
  const text = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
  return text.slice(before === 0 ? 0 : before + 1, whole);
}
