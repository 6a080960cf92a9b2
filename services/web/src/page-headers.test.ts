import { expect, it } from "vitest";
import { apiOver } from "./api.ts";
import { createPages } from "./pages.ts";
import { FakeApi, NOW, sampleConnection } from "./testing/fake-api.ts";

/** What stands for a parameter of a route, so that its page is found; a new parameter needs a line here. */
const PARAMETERS: Readonly<Record<string, string>> = {
  file: "none.css",
  integration: "todoist",
  id: "c-connected",
  userId: "u-2",
};
const filled = (path: string): string =>
  path.replaceAll(/:(\w+)(?:\{[^}]*(?:\{[^}]*\})?[^}]*\})?/g, (_all, name: string) => {
    const value = PARAMETERS[name];
    if (value === undefined) throw new Error(`no example of the parameter ${name} of ${path}`);
    return value;
  });

const fake = new FakeApi();
fake.connections = [sampleConnection("connected")];
const pages = createPages({ api: apiOver(fake.fetch), signInPath: "/auth/signin", now: () => NOW });
const routes = pages.routes.filter(({ method }) => method !== "ALL").map(({ method, path }) => ({ method, path }));

it("finds the pages by the routes of the app", () => {
  expect(routes.length).toBeGreaterThan(20);
  expect(routes).toContainEqual({ method: "GET", path: "/organizations" });
});

it.each(routes.flatMap((route) => [true, false].map((signedIn) => ({ ...route, signedIn }))))(
  "$method $path keeps to itself, runs nothing and stands in no frame; signed in: $signedIn",
  async ({ method, path, signedIn }) => {
    fake.signedIn = signedIn;
    const init = method === "GET" ? {} : { method, body: new URLSearchParams() };
    const { status, headers } = await pages.fetch(new Request(`http://127.0.0.1:8080${filled(path)}`, init));
    expect(status).toBeLessThan(500);
    expect(headers.get("content-security-policy") ?? "").toMatch(
      /^default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'( http:\/\/127\.0\.0\.1:\* http:\/\/localhost:\*)?$/,
    );
    expect(
      Object.fromEntries(
        ["cache-control", "referrer-policy", "x-content-type-options", "x-frame-options"].map((name) => [
          name,
          headers.get(name),
        ]),
      ),
    ).toEqual({
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
    });
  },
);
