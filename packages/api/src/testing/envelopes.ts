/** The messages of a Connect stream as they come: a flag, a length, JSON; the last one says how it ended. */
export async function* envelopes(response: Response) {
  let bytes = Buffer.alloc(0);
  for await (const chunk of response.body ?? []) {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= 5 && bytes.length >= 5 + bytes.readUInt32BE(1)) {
      const end = 5 + bytes.readUInt32BE(1);
      yield { last: bytes[0] === 2, json: JSON.parse(bytes.subarray(5, end).toString()) as Record<string, never> };
      bytes = bytes.subarray(end);
    }
  }
}

export async function all<T>(messages: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const message of messages) found.push(message);
  return found;
}
