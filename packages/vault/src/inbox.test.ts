import { randomUUID } from "node:crypto";
import { type Database, openPglite, run, withOrganization } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { newKeyPair } from "./seal.ts";
import { createSealer, type Sealer } from "./sealer.ts";
import { type FakeProvider, startFakeProvider } from "./testing/fake-provider.ts";
import { type Harness, PERSON, SCOPE, startHarness } from "./testing/harness.ts";
import type { CredentialScope, FormTicket, Vault } from "./vault.ts";

let database: Database;
let provider: FakeProvider;
let harness: Harness;
let vault: Vault;
let sealer: Sealer;
beforeAll(async () => {
  database = await openPglite();
  provider = await startFakeProvider();
  harness = await startHarness(database, provider);
  ({ vault } = harness);
  sealer = createSealer({ database, verifyKey: vault.verifyKey });
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await database.close();
});
beforeEach(async () => {
  harness.clock.now = new Date("2026-11-21T10:00:00Z");
  await asOwner(database, (tx) =>
    run(tx, "TRUNCATE vault.inbox, vault.form, vault.credential_grant, vault.subject_key CASCADE"),
  );
});

const fields = ["password", "username"];
const values = { username: "canary-name", password: "canary-password" };
const openForm = (scope = SCOPE): Promise<FormTicket> => vault.openForm({ scope, person: PERSON, fields });
const submit = (ticket: FormTicket, change: object = {}): Promise<string> =>
  sealer.submit({ ticket, person: PERSON, values, ...change });
const rows = <T>(text: string): Promise<T[]> => asOwner(database, (tx) => run<T>(tx, text));
const refusal = (submissionId: string, organizationId = "acme"): Promise<string> =>
  vault.acceptSubmission(organizationId, submissionId).then(
    () => "accepted",
    (error: { code: string; detail?: string }) => error.detail ?? error.code,
  );

describe("a credential that a person types", () => {
  it("is taken in by a process that cannot read it, and becomes a credential when the vault accepts it", async () => {
    const submissionId = await submit(await openForm());
    const dump = JSON.stringify(await rows("SELECT i::text AS row FROM vault.inbox AS i"));
    for (const planted of ["canary", Buffer.from("canary").toString("hex"), Buffer.from("canary").toString("base64")])
      expect(dump).not.toContain(planted);
    const grant = await vault.acceptSubmission("acme", submissionId);
    expect(Object.keys(grant.secretIds).toSorted()).toEqual(fields);
    await vault.accept(SCOPE);
    expect(await vault.describe(SCOPE)).toEqual(grant);
    expect(await rows("SELECT 1 FROM vault.inbox UNION ALL SELECT 1 FROM vault.form")).toEqual([]);
    provider.routes.set("/v1/typed", (request, response) =>
      response.writeHead(200).end(request.headers.authorization === "Bearer canary-password" ? "right" : "wrong"),
    );
    const attach = { in: "header", name: "authorization", secret: "password", template: "Bearer {}" } as const;
    const { spec } = harness.use();
    const answer = await vault
      .open(SCOPE, harness.use({ spec: { ...spec, attach } }))
      .fetch("https://provider.example.com/v1/typed");
    expect(await answer.text()).toBe("right");
  });

  it("replaces the one before, as the next generation", async () => {
    const first = await vault.acceptSubmission("acme", await submit(await openForm()));
    const second = await vault.acceptSubmission("acme", await submit(await openForm()));
    expect(second.secretIds).toEqual(first.secretIds);
    expect(await rows("SELECT DISTINCT revision::int AS revision FROM vault.secret")).toEqual([{ revision: 2 }]);
  });

  it("is accepted from an inbox that another process filled, whatever else lies there", async () => {
    await submit(await openForm());
    await submit(await openForm({ ...SCOPE, organizationId: "globex", credentialId: "c-2" }));
    await submit({ ...(await openForm()), nonce: "x" });
    expect(await vault.acceptWaiting(10)).toEqual({ accepted: 2, refused: 1 });
    expect(await vault.acceptWaiting(10)).toEqual({ accepted: 0, refused: 0 });
  });

  it("of one form is accepted once, of how many ever", async () => {
    const ticket = await openForm();
    const submissions = await Promise.all(Array.from({ length: 8 }, () => submit(ticket)));
    const outcomes = await Promise.all(submissions.map((id) => refusal(id)));
    expect(outcomes.filter((outcome) => outcome === "accepted")).toHaveLength(1);
    expect(await rows("SELECT DISTINCT revision::int AS revision FROM vault.secret")).toEqual([{ revision: 1 }]);
  });

  it("survives a change of keys between typing and acceptance", async () => {
    const ticket = await openForm();
    const submissionId = await submit(ticket);
    await rows("UPDATE vault.subject_key SET superseded_at = now() - interval '1 day'");
    await vault.sweep();
    await rows("UPDATE vault.subject_key SET unused_since = now() - interval '1 day' WHERE unused_since IS NOT NULL");
    await vault.sweep();
    expect(await refusal(submissionId)).toBe("accepted");
  });
});

describe("what is not as the form asked for it", () => {
  const theirs: CredentialScope = { ...SCOPE, credentialId: "theirs" };
  const edit = async (set: string) => {
    const id = await submit(await openForm());
    await rows(`UPDATE vault.inbox SET ${set}`);
    return id;
  };
  const editForm = async (set: string) => {
    const id = await submit(await openForm());
    await rows(`UPDATE vault.form SET ${set}`);
    return id;
  };
  const cases: [string, string, () => Promise<string>][] = [
    ["no form", "form_unknown", async () => submit({ ...(await openForm()), formId: randomUUID() })],
    ["a wrong nonce", "nonce_wrong", async () => submit({ ...(await openForm()), nonce: "x".repeat(43) })],
    ["no nonce", "nonce_wrong", async () => submit({ ...(await openForm()), nonce: "" })],
    [
      "another person",
      "other_person",
      async () => submit(await openForm(), { person: { ...PERSON, userId: "user-2" } }),
    ],
    [
      "another session",
      "other_person",
      async () => submit(await openForm(), { person: { ...PERSON, sessionHash: "x" } }),
    ],
    ["another credential", "other_credential", async () => submit({ ...(await openForm()), scope: theirs })],
    [
      "another integration",
      "other_credential",
      async () => submit({ ...(await openForm()), scope: { ...SCOPE, integration: "x" } }),
    ],
    ["too few fields", "fields_wrong", async () => submit(await openForm(), { values: { password: "x" } })],
    ["too many fields", "fields_wrong", async () => submit(await openForm(), { values: { ...values, more: "x" } })],
    ["a row moved to another credential", "other_credential", () => edit("credential_id = 'theirs'")],
    ["a row moved to another form and all", "form_unknown", () => edit("form_id = gen_random_uuid()")],
    ["a ciphertext of nobody", "not_sealed_for_it", () => edit("ciphertext = sealed")],
    ["a key of nobody", "not_sealed_for_it", () => edit("key_id = gen_random_uuid()")],
    ["a form made in the database", "form_forged", () => editForm("credential_id = 'theirs'")],
    ["a form with another person", "form_forged", () => editForm("user_id = 'user-2'")],
    ["a form with a longer life", "form_forged", () => editForm("expires_at = expires_at + interval '1 day'")],
    ["a form with other fields", "form_forged", () => editForm(`fields = '["password"]'`)],
    [
      "a form that ran out",
      "form_expired",
      async () => {
        const id = await submit(await openForm());
        harness.clock.now = new Date("2026-11-21T10:10:00Z");
        return id;
      },
    ],
  ];
  it.each(cases)("is quarantined without its content, and nothing is written: %s", async (_, reason, make) => {
    const id = await make();
    expect(await refusal(id)).toBe(reason);
    expect(await rows("SELECT reason, ciphertext, sealed, user_id IS NOT NULL AS named FROM vault.inbox")).toEqual([
      { reason, ciphertext: null, sealed: null, named: true },
    ]);
    expect(await rows("SELECT 1 FROM vault.credential_grant")).toEqual([]);
    expect(await refusal(id)).toBe("credential_missing");
  });

  it("is nobody else's to accept", async () => {
    const id = await submit(await openForm());
    expect(await refusal(id, "globex")).toBe("credential_missing");
    expect(await refusal(id)).toBe("accepted");
  });

  it("is kept for thirty days as a record, and forms for ten minutes", async () => {
    await refusal(await submit({ ...(await openForm()), nonce: "x" }));
    harness.clock.now = new Date("2026-11-21T10:11:00Z");
    await vault.sweep();
    expect(await rows("SELECT 1 FROM vault.form")).toEqual([]);
    expect(await rows("SELECT 1 FROM vault.inbox")).toHaveLength(1);
    harness.clock.now = new Date(Date.now() + 31 * 86_400_000);
    await vault.sweep();
    expect(await rows("SELECT 1 FROM vault.inbox")).toEqual([]);
  });
});

describe("the process that only writes", () => {
  it("refuses a public key that the vault did not sign, and stores nothing", async () => {
    const ticket = await openForm();
    const other = newKeyPair().publicKey;
    await asOwner(database, (tx) => run(tx, "UPDATE vault.subject_key SET public_key = $1", [other]));
    await expect(submit(ticket)).rejects.toMatchObject({ code: "public_key_untrusted" });
    const stranger = createSealer({ database, verifyKey: Buffer.alloc(32, 7).toString("base64url") });
    await expect(stranger.submit({ ticket, person: PERSON, values })).rejects.toMatchObject({
      code: "public_key_untrusted",
    });
    expect(await rows("SELECT 1 FROM vault.inbox")).toEqual([]);
    expect(() => createSealer({ database, verifyKey: "short" })).toThrow(TypeError);
  });

  it.each([
    [{}],
    [{ password: " " }],
    [Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`f${n}`, "x"]))],
    [{ password: "x".repeat(64 * 1024 + 1) }],
  ])("refuses what is no credential: %#", async (wrong) => {
    const ticket = await openForm();
    await expect(submit(ticket, { values: wrong })).rejects.toMatchObject({ code: "submission_refused" });
  });

  const forbidden = [
    "SELECT 1 FROM vault.inbox",
    "UPDATE vault.inbox SET user_id = 'x'",
    "DELETE FROM vault.inbox",
    "INSERT INTO vault.inbox (id, quarantined_at) VALUES (gen_random_uuid(), now())",
    "SELECT nonce FROM vault.form",
    "DELETE FROM vault.form",
    "SELECT wrapped FROM vault.subject_key",
    "SELECT * FROM vault.subject_key",
    "UPDATE vault.subject_key SET generation = 1",
    "INSERT INTO vault.credential_grant (organization_id) VALUES ('acme')",
    "SELECT 1 FROM vault.credential_grant",
    "SELECT 1 FROM vault.secret",
    "INSERT INTO vault.secret (id) VALUES (gen_random_uuid())",
    "SELECT 1 FROM vault.erasure",
    "SELECT 1 FROM vault.rotation",
    "TRUNCATE vault.inbox",
  ];
  it.each(forbidden)("may not: %s", async (statement) => {
    const denied = withOrganization(database, "acme", (tx) => run(tx, statement), "writer");
    await expect(denied).rejects.toMatchObject({ code: "42501" });
  });

  it("puts nothing into another organisation's inbox, and sees no key of one", async () => {
    const ticket = await openForm({ ...SCOPE, organizationId: "globex" });
    await submit(ticket);
    const copy = `INSERT INTO vault.inbox (id, organization_id, form_id, user_id, session_hash, integration, owner_kind, owner_id, credential_id, key_id, alg, nonce, ciphertext, sealed)
      VALUES (gen_random_uuid(), 'globex', gen_random_uuid(), '', '', '', 'user', '', '', gen_random_uuid(), '', '', '', '')`;
    await expect(withOrganization(database, "acme", (tx) => run(tx, copy), "writer")).rejects.toMatchObject({
      code: "42501",
    });
    const seen = (organizationId: string) =>
      withOrganization(database, organizationId, (tx) => run(tx, "SELECT key_id FROM vault.subject_key"), "writer");
    expect([(await seen("acme")).length, (await seen("globex")).length]).toEqual([0, 1]);
  });
});
