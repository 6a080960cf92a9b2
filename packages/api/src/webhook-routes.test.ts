import { describe, expect, it } from "vitest";
import { createApi } from "./api.ts";

const PATH = "/webhooks/todoist/todoist";
const MEBIBYTE = 1024 * 1024;

/** Takes every delivery in, and keeps how long its body was. */
function stage() {
  const lengths: number[] = [];
  const ingress = {
    receive: async ({ body }: { readonly body: Uint8Array }) => {
      lengths.push(body.length);
      return 0;
    },
  };
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const runtime = { uuid: () => "some-id", log, registry: { connectors: [] } };
  const options = { runtime, connections: {}, ingress, authenticator: {}, origin: "http://127.0.0.1", nudge: () => {} };
  const api = createApi(options as unknown as Parameters<typeof createApi>[0]);
  return {
    lengths,
    post: (init: RequestInit) => api.fetch(new Request(`http://127.0.0.1${PATH}`, { method: "POST", ...init })),
  };
}

/** A body that comes in pieces, so that nobody has told its length. */
const stream = (bytes: number): RequestInit =>
  ({ body: new Blob([new Uint8Array(bytes)]).stream(), duplex: "half" }) as RequestInit;

describe("a webhook's body", () => {
  it.each([
    ["whose length is told", { body: "x".repeat(MEBIBYTE), headers: { "content-length": String(MEBIBYTE) } }],
    ["whose length nobody told", stream(MEBIBYTE)],
  ])("of 1 MiB is taken in whole, %s", async (_, init) => {
    const { post, lengths } = stage();
    expect((await post(init)).status).toBe(200);
    expect(lengths).toEqual([MEBIBYTE]);
  });

  it.each([
    ["whose length is told", { body: "x", headers: { "content-length": String(MEBIBYTE + 1) } }],
    ["whose length is no number", { body: "x", headers: { "content-length": "many" } }],
    ["whose length nobody told", stream(2 * MEBIBYTE)],
    ["that says both", { ...stream(2 * MEBIBYTE), headers: { "content-length": "1", "transfer-encoding": "chunked" } }],
  ])("of more is refused, %s", async (_, init) => {
    const { post, lengths } = stage();
    const answer = await post(init);
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({ error: "payload_too_large", correlationId: "some-id" });
    expect(lengths).toEqual([]);
  });
});
