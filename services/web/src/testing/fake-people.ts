import type { Hono } from "hono";
import type { Invitation, Notice, Member, Organization } from "../people-api.ts";

const ALL = ["integrations.view", "integrations.manage", "integrations.credentials"] as const;
const SINCE = "2026-11-01T12:00:00.000Z";
const UNTIL = "2026-11-28T12:00:00.000Z";
export const LINK = `https://hub.example.com/invitation?token=${"t".repeat(43)}`;

export const members: readonly Member[] = [
  {
    userId: "5c5f3c86-6a4f-4b62-9f3e-0b6c3f1e2a10",
    name: "Sample Person",
    email: "sample@example.com",
    permissions: [...ALL],
    since: SINCE,
  },
  {
    userId: "u-2",
    name: "Somebody <b>with</b> a Name that Goes on",
    email: `${"long".repeat(12)}@example.com`,
    permissions: [],
    since: SINCE,
  },
];

/** What the public API says of people; `refusal` is its answer to the next change. */
export class FakePeople {
  organizations: Organization[] = [
    { id: "sample", name: "Sample", permissions: [...ALL], current: true },
    { id: "globex-1", name: "Globex", permissions: [], current: false },
  ];
  notices: Notice[] = [];
  invitations: Invitation[] = [{ id: "i-1", email: "grace@example.com", permissions: [ALL[0]], expiresAt: UNTIL }];
  refusal: { status: number; error: string } | undefined;

  mount(app: Hono): void {
    app.use("/api/*", async (c, next) => {
      const { refusal } = this;
      const changes = c.req.method !== "GET" || c.req.path.startsWith("/api/received-invitations/");
      return refusal === undefined || !changes ? next() : c.json(refusal, refusal.status as 409);
    });
    app.get("/api/organizations", (c) => c.json({ items: this.organizations }));
    app.post("/api/organizations", (c) => c.json({ ...this.organizations[1], id: "made" }, 201));
    app.get("/api/members", (c) => c.json({ items: members }));
    app.patch("/api/members/:id", (c) => c.json(members[1]));
    app.delete("/api/members/:id", (c) => c.body(null, 204));
    app.get("/api/notices", (c) => c.json({ items: this.notices }));
    app.get("/api/invitations", (c) => c.json({ items: this.invitations }));
    app.post("/api/invitations", (c) => c.json({ ...this.invitations[0], link: LINK, mailed: false }, 201));
    app.delete("/api/invitations/:id", (c) => c.body(null, 204));
    app.get("/api/received-invitations/:token", (c) =>
      c.json({ id: "acme", name: "Acme", permissions: [ALL[0]], expiresAt: UNTIL }),
    );
    app.post("/api/received-invitations/:token/accept", (c) =>
      c.json({ id: "acme", name: "Acme", permissions: [ALL[0]], current: false }),
    );
  }
}
