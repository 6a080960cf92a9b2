import { beforeEach, describe, expect, it } from "vitest";
import { apiOver } from "./api.ts";
import { createPages } from "./pages.ts";
import { FakeApi, NOW } from "./testing/fake-api.ts";
import { LINK } from "./testing/fake-people.ts";

const ORIGIN = "http://127.0.0.1:8080";
const TOKEN = "t".repeat(43);
let fake: FakeApi;
let pages: ReturnType<typeof createPages>;
beforeEach(() => {
  fake = new FakeApi();
  pages = createPages({ api: apiOver(fake.fetch), signInPath: "/auth/signin", now: () => NOW });
});

const get = (path: string) => pages.fetch(new Request(`${ORIGIN}${path}`));
const text = async (path: string) => (await get(path)).text();
const post = (path: string, form: Record<string, string> | [string, string][] = {}) =>
  pages.fetch(new Request(`${ORIGIN}${path}`, { method: "POST", body: new URLSearchParams(form) }));
const led = async (answer: Response | Promise<Response>) => {
  const { status, headers } = await answer;
  return [status, headers.get("location")];
};

describe("organisations", () => {
  it("are switched where sessions are made; the present one leads to its people", async () => {
    const page = await text("/organizations");
    expect([...page.matchAll(/action="([^"]+)"/g)].map(([, action]) => action)).toEqual([
      "/auth/signout",
      "/auth/organization",
      "/organizations",
    ]);
    expect(page).toContain('name="organization" value="globex-1"');
    expect(page).toContain('href="/people"');
  });

  it("are made by those who manage one", async () => {
    expect(await led(post("/organizations", { name: "Globex" }))).toEqual([
      303,
      "/organizations?outcome=created#organization-made",
    ]);
    expect(fake.bodies).toEqual([{ name: "Globex" }]);
    fake.people.organizations = fake.people.organizations.map((one) => ({ ...one, permissions: [] }));
    expect(await text("/organizations")).not.toContain('action="/organizations"');
  });

  it.each(["created", "joined", "elsewhere"])("tell of %s, and of nothing that somebody made up", async (outcome) => {
    expect(await text(`/organizations?outcome=${outcome}`)).toMatch(/<div class="notice/);
    expect(await text("/organizations?outcome=constructor")).not.toMatch(/<div class="notice/);
  });
});

describe("people", () => {
  it("are shown with what they may do, their words as words", async () => {
    const page = await text("/people");
    expect(page).toContain("Somebody &lt;b&gt;with&lt;/b&gt;");
    expect(page).toContain("Only their own accounts");
    expect(page.match(/<details>/g)).toHaveLength(2);
  });

  it("are changed by tick boxes; one that the reader does not have cannot be touched, and stays as it was", async () => {
    fake.permissions = ["integrations.view", "integrations.manage"];
    const page = await text("/people");
    const form = /<form method="post" action="\/people\/5c5f[^]*?<\/form>/.exec(page)?.[0] ?? "";
    expect(form).toMatch(/value="integrations.credentials"\s+checked\s+disabled/);
    expect(form).toContain('<input type="hidden" name="permission" value="integrations.credentials"');
    const ticked: [string, string][] = [
      ["permission", "integrations.view"],
      ["permission", "integrations.manage"],
    ];
    expect(await led(post("/people/u-2", ticked))).toEqual([303, "/people?outcome=saved#member-u-2"]);
    expect(await led(post("/people/u-2"))).toEqual([303, "/people?outcome=saved#member-u-2"]);
    expect(fake.bodies).toEqual([{ permissions: ["integrations.view", "integrations.manage"] }, { permissions: [] }]);
  });

  it("are preceded by what an administrator has to know, in words, and by nothing when there is nothing", async () => {
    expect(await text("/people")).not.toContain("You should know");
    const at = "2026-11-20T12:00:00.000Z";
    fake.people.notices = [
      { id: "n-1", at, code: "secret_moved", place: "integrations.setting.config", rowKey: "acme, <b>shifts</b>" },
      { id: "n-2", at, code: "something_later", place: "a.b", rowKey: "1" },
    ];
    const page = await text("/people");
    expect(page).toContain("A credential stood in a configuration in the open.");
    expect(page).toContain("integrations.setting.config, acme, &lt;b&gt;shifts&lt;/b&gt;");
    expect(page).toContain("Something happened that needs a look.");
    fake.people.notices = [];
  });

  it("are removed after a question", async () => {
    expect(await text("/people/u-2/remove")).toContain('action="/people/u-2/remove"');
    expect(await led(post("/people/u-2/remove"))).toEqual([303, "/people?outcome=removed"]);
    expect(fake.asked).toContain("DELETE /api/members/u-2");
    expect((await get("/people/nobody/remove")).status).toBe(404);
  });

  it.each([
    ["last_administrator", 409, "/people/u-2", "Somebody has to manage"],
    ["permission_not_held", 403, "/people/u-2", "only permissions that you have yourself"],
    ["last_administrator", 409, "/people/u-2/remove", "Somebody has to manage"],
    ["validation_failed", 422, "/people/invitations", "something in it cannot be"],
    ["limit_reached", 409, "/people/invitations", "too many already"],
    ["invitation_ended", 409, "/invitation", "This invitation has ended"],
    ["invitation_other_address", 403, "/invitation", "for another address"],
    ["validation_failed", 422, "/organizations", "something in it cannot be"],
  ])("are told of %s on the page they came from", async (error, status, path, sentence) => {
    fake.people.refusal = { status, error };
    const answer = await post(path);
    expect([answer.status, await answer.text()]).toEqual([
      status === 403 ? 403 : 409,
      expect.stringContaining(sentence),
    ]);
  });

  it("send a body that is no form, and are told that something is missing", async () => {
    fake.people.refusal = { status: 422, error: "validation_failed" };
    const headers = { "content-type": "multipart/form-data; boundary=x" };
    for (const path of ["/people/invitations", "/people/u-2", "/organizations", "/invitation"]) {
      const answer = await pages.fetch(new Request(`${ORIGIN}${path}`, { method: "POST", body: "no form", headers }));
      expect(answer.status).toBe(409);
    }
  });

  it("see another refusal as a page", async () => {
    fake.people.refusal = { status: 403, error: "csrf_rejected" };
    const answer = await post("/people/u-2");
    expect([answer.status, await answer.text()]).toEqual([403, expect.stringContaining("That was not allowed")]);
  });
});

describe("an invitation", () => {
  it("shows its link once, in the answer and in no address", async () => {
    const answer = await post("/people/invitations", { email: "grace@example.com", permission: "integrations.view" });
    expect([answer.status, answer.headers.get("cache-control"), await answer.text()]).toEqual([
      200,
      "no-store",
      expect.stringContaining(LINK),
    ]);
    expect(fake.bodies).toEqual([{ email: "grace@example.com", permissions: ["integrations.view"] }]);
    expect(await text("/people")).not.toContain(TOKEN);
  });

  it("is revoked by its id", async () => {
    expect(await led(post("/people/invitations/i-1/revoke"))).toEqual([303, "/people?outcome=revoked#invitations"]);
    expect(fake.asked).toContain("DELETE /api/invitations/i-1");
  });

  it("leads somebody signed in to a question, and somebody else to signing in with it", async () => {
    expect(await text(`/invitation?token=${TOKEN}`)).toContain(`name="token" value="${TOKEN}"`);
    expect(await led(post("/invitation", { token: TOKEN }))).toEqual([
      303,
      "/organizations?outcome=joined#organization-acme",
    ]);
    fake.signedIn = false;
    const answer = await get(`/invitation?token=${TOKEN}`);
    expect([answer.status, await answer.text()]).toEqual([401, expect.stringContaining(`&amp;ticket=${TOKEN}"`)]);
    expect(await text(`/invitation?token=${encodeURIComponent('"><script>')}`)).not.toContain("<script");
  });

  it("that has ended says so", async () => {
    fake.people.refusal = { status: 409, error: "invitation_ended" };
    const answer = await get(`/invitation?token=${TOKEN}`);
    expect([answer.status, await answer.text()]).toEqual([409, expect.stringContaining("This invitation has ended")]);
  });

  it("of an administrator leads through signing in", async () => {
    expect(await text(`/signin?ticket=${TOKEN}`)).toContain(`/auth/signin?returnTo=%2Fconnections&amp;ticket=${TOKEN}`);
  });
});
