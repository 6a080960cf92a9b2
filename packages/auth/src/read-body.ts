/**
 * A body of at most so many bytes.
 * @returns undefined when it is larger.
 */
export async function readBody({ body }: Request, bytesMax: number): Promise<Buffer | undefined> {
  if (body === null) return Buffer.alloc(0);
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  for (let bytes = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(chunks);
    bytes += value.byteLength;
    if (bytes > bytesMax) {
      // Not waited for: a copy's end waits for the end of the original, which nobody may be reading.
      void reader.cancel();
      return undefined;
    }
    chunks.push(value);
  }
}
