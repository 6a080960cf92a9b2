/** One event of a stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export interface ServerSentEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string;
}

/** More than one event of ours can have. */
const BUFFER_CHARACTERS_MAX = 8 * 1024 * 1024;

/** Reads events off an answer's body as they come. Comments and fields without a use are passed over. */
export async function* serverSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  let buffer = "";
  const decoder = new TextDecoder();
  for await (const bytes of body) {
    buffer += decoder.decode(bytes, { stream: true }).replaceAll("\r\n", "\n");
    for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
      const event = read(buffer.slice(0, end));
      buffer = buffer.slice(end + 2);
      if (event !== undefined) yield event;
    }
    if (buffer.length > BUFFER_CHARACTERS_MAX) throw new Error("an event of the stream has no end");
  }
}

function read(block: string): ServerSentEvent | undefined {
  const fields = block.split("\n").flatMap((line) => {
    const [, name = "", value = ""] = /^([^:]+):? ?(.*)$/.exec(line) ?? [];
    return name === "" ? [] : [{ name, value }];
  });
  const last = (name: string): string => fields.findLast((field) => field.name === name)?.value ?? "";
  const data = fields.filter(({ name }) => name === "data").map(({ value }) => value);
  return data.length === 0 ? undefined : { event: last("event"), id: last("id"), data: data.join("\n") };
}
