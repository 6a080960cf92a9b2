import { describe, expect, it } from "vitest";
import { PageTokenInvalid, pageToken, readPageToken } from "./page-token.ts";

const ID = "0198c2f4-5f4e-4a51-9a1d-0c7b7f2f8a11";

describe("a page token", () => {
  it.each(["2026-11-28 15:53:20.019+00", "2026-02-28 23:59:59.999999+00", "2026-11-28 16:53:20+05:30"])(
    "carries the place of a row that was stamped %s",
    (at) => {
      expect(readPageToken(pageToken(at, ID, 7n), ["time", "uuid", "number"])).toEqual([at, ID, "7"]);
    },
  );

  it.each([
    ["is no base64 of anything", "garbage"],
    ["is empty", ""],
    ["is of another list", pageToken("2026-11-28 15:53:20+00", ID, 7n)],
    ["lacks a part", pageToken("2026-11-28 15:53:20+00")],
    ["has a number for a time", pageToken("1", ID)],
    ["has a time that JavaScript reads and PostgreSQL does not", pageToken("Sat Nov 28 2026", ID)],
    ["has a day that there is not", pageToken("2026-02-30 00:00:00+00", ID)],
    ["has no end of time", pageToken("infinity", ID)],
    ["has hyphens for an id", pageToken("2026-11-28 15:53:20+00", "-".repeat(36))],
    ["holds no text", Buffer.from('[{"a":1},2]').toString("base64url")],
  ])("that %s is refused before the database sees it", (_what, token) => {
    expect(() => readPageToken(token, ["time", "uuid"])).toThrow(PageTokenInvalid);
  });
});
