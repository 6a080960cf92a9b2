import { expect, it } from "vitest";
import { checkOrigin } from "./check-origin.ts";

const ours = "https://hub.example.com";

it.each<[string, Record<string, string>, boolean]>([
  ["GET", { origin: "https://evil.example" }, true],
  ["HEAD", {}, true],
  ["POST", { origin: ours }, true],
  ["POST", { origin: "null", "sec-fetch-site": "same-origin" }, true],
  ["POST", { "sec-fetch-site": "same-origin" }, false],
  ["POST", {}, false],
  ["POST", { origin: "null" }, false],
  ["POST", { origin: "null", "sec-fetch-site": "cross-site" }, false],
  ["POST", { "sec-fetch-site": "same-site" }, false],
  ["POST", { "sec-fetch-site": "none" }, false],
  ["POST", { origin: "https://evil.example", "sec-fetch-site": "same-origin" }, false],
  ["POST", { origin: "https://hub.example.com.evil.example" }, false],
  ["POST", { origin: "http://hub.example.com" }, false],
  ["POST", { origin: "https://hub.example.com:8443" }, false],
  ["DELETE", { origin: "https://evil.example" }, false],
  ["PUT", { origin: ours, "content-type": "text/plain" }, true],
  ["PATCH", {}, false],
])("%s with %j may change something: %s", (method, headers, allowed) => {
  expect(checkOrigin(new Request(`${ours}/api/x`, { method, headers }), ours)).toBe(allowed);
});
