import { errors } from "@tributary/contracts";
import { expect, it } from "vitest";
import { apiOver } from "./api.ts";
import { createPages } from "./pages.ts";
import { FakeApi, NOW } from "./testing/fake-api.ts";

it("every link of a refusal leads to a section, for everybody", async () => {
  const fake = new FakeApi();
  fake.signedIn = false;
  const pages = createPages({ api: apiOver(fake.fetch), signInPath: "/auth/signin", now: () => NOW });
  const page = await pages.request("http://127.0.0.1:8080/docs/errors");
  expect(page.status).toBe(200);
  const text = await page.text();
  const anchors = [...text.matchAll(/<h3 id="(\w+)">/g)].map(([, anchor = ""]) => anchor);
  expect(anchors.toSorted()).toEqual(Object.keys(errors).toSorted());
  // The example keeps its lines; marks of the source are gone.
  expect(text).toContain("<pre><code>{\n&#32;&#32;&quot;error&quot;: &quot;validation_failed&quot;,\n");
  expect(text).not.toMatch(/```|<p>#|`/);
});
