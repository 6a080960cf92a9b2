import { type Database, type OrganizationRole, type Queryable, run, withOrganization } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openOnce, secretContext } from "../grants.ts";
import type { VaultParts } from "../parts.ts";
import { sealSecret } from "../seal.ts";
import { sealingKey } from "../subject-keys.ts";
import type { CredentialScope } from "../vault.ts";
import { makeVaultParts } from "./vault-parts.ts";

const PLAINTEXT = "canary-api-key-4f1d";
const ACCESS = { purpose: "check", correlationId: "request-1" } as const;

/**
 * What the SQL functions promise, on any engine. The database knows no plaintext: what is said of one is shown by the
 * vault's module, which seals before and opens after.
 */
export function describeFunctions(engine: string, open: () => Promise<Database>): void {
  describe(`the vault's SQL functions on ${engine}`, () => {
    let database: Database;
    let parts: VaultParts;
    let remove: () => void;
    let scope: CredentialScope;
    let id: string;
    beforeAll(async () => {
      database = await open();
      ({ parts, remove } = await makeVaultParts(database));
    });
    afterAll(async () => {
      remove();
      await database.close();
    });
    const as = <T>(role: OrganizationRole, work: (tx: Queryable) => Promise<T>) =>
      withOrganization(database, scope.organizationId, work, role);
    const seal = async (plaintext: string, revision: number): Promise<unknown[]> => {
      const { keyId, publicKey } = await sealingKey(database, parts.ring, scope, parts.randomUUID);
      const context = secretContext(scope, "api_key", revision, keyId);
      const { alg, nonce, ciphertext, sealed } = sealSecret(Buffer.from(plaintext), context, publicKey);
      return [revision, alg, keyId, nonce, ciphertext, sealed, "user-1"];
    };
    const store = async (role: OrganizationRole, value?: readonly unknown[]) => {
      const { organizationId, credentialId, integration, owner } = scope;
      const place = [organizationId, id, credentialId, integration, owner.kind, owner.id, "api_key"];
      const params = [...place, ...(value ?? (await seal(PLAINTEXT, 1)))];
      const [row] = await as(role, (tx) => run<{ id: string }>(tx, STORE, params));
      return row?.id;
    };
    const rotate = async (role: OrganizationRole, value: readonly unknown[]) =>
      (await as(role, (tx) => run<{ id: string }>(tx, ROTATE, [scope.organizationId, id, ...value])))[0]?.id;
    const accept = () => as("vault", (tx) => run(tx, ACCEPT, [scope.organizationId, scope.credentialId]));
    const retrieve = (role: OrganizationRole) =>
      as(role, (tx) => run<{ revision: bigint; ciphertext: Uint8Array }>(tx, RETRIEVE, [scope.organizationId, id]));
    const deleteAs = (role: OrganizationRole) =>
      as(role, (tx) => run<{ gone: boolean }>(tx, DELETE, [scope.organizationId, id]));
    const entries = async () =>
      (await asOwner(database, (tx) => run<{ line: string }>(tx, ENTRIES, [scope.organizationId]))).map(
        ({ line }) => line,
      );
    /** Its own organisation for every case, so that none sees another's rows. */
    const begin = async (name: string) => {
      id = parts.randomUUID();
      scope = {
        organizationId: name,
        integration: "seven-shifts",
        owner: { kind: "organization", id: name },
        credentialId: `credential-of-${name}`,
      };
    };

    it("1: store gives the id back, and the plaintext can be read by nobody", async () => {
      await begin("case-1");
      expect(await store("writer")).toBe(id);
      for (const role of ["writer", "reader"] as const)
        await expect(as(role, (tx) => run(tx, "SELECT * FROM vault.secret"))).rejects.toMatchObject({ code: "42501" });
      const [row] = await asOwner(database, (tx) => run<{ text: string }>(tx, WHOLE_ROW, [id]));
      for (const form of ["utf8", "hex"] as const)
        expect(row?.text).not.toContain(Buffer.from(PLAINTEXT).toString(form));
    });

    it("2: retrieve gives the vault what was stored, once the vault has accepted it", async () => {
      await begin("case-2");
      await store("writer");
      await expect(retrieve("vault")).rejects.toMatchObject({ code: "P0002" });
      await accept();
      expect((await retrieve("vault"))[0]).toMatchObject({ revision: 1n });
      expect(await openOnce(parts, scope, "api_key", 1, ACCESS)).toBe(PLAINTEXT);
    });

    it.each(["writer", "reader"] as const)("3: retrieve, rotate and delete are refused to the %s", async (role) => {
      await begin(`case-3-${role}`);
      await store("vault");
      const refused = { code: "42501" };
      await expect(retrieve(role)).rejects.toMatchObject(refused);
      await expect(rotate(role, await seal("canary-new", 2))).rejects.toMatchObject(refused);
      await expect(deleteAs(role)).rejects.toMatchObject(refused);
    });

    it("3: and a reader may not even store", async () => {
      await begin("case-3-store");
      await expect(store("reader")).rejects.toMatchObject({ code: "42501" });
    });

    it("4: rotate gives the same id a new value", async () => {
      await begin("case-4");
      await store("vault");
      expect(await rotate("vault", await seal("canary-new", 2))).toBe(id);
      expect(await openOnce(parts, scope, "api_key", 2, ACCESS)).toBe("canary-new");
      expect((await retrieve("vault"))[0]).toMatchObject({ revision: 2n });
      await expect(rotate("vault", await seal("canary-late", 2))).rejects.toMatchObject({ code: "23505" });
    });

    it("5: what was deleted is not found any more", async () => {
      await begin("case-5");
      await store("vault");
      expect(await deleteAs("vault")).toEqual([{ gone: true }]);
      await expect(retrieve("vault")).rejects.toMatchObject({ code: "P0002" });
      expect(await openOnce(parts, scope, "api_key", 1, ACCESS)).toBeUndefined();
    });

    it("6: deleting what does not exist is no error", async () => {
      await begin("case-6");
      expect(await deleteAs("vault")).toEqual([{ gone: false }]);
    });

    it("7: nothing is stored when a part of it is NULL or the value is empty", async () => {
      await begin("case-7");
      const whole = await seal(PLAINTEXT, 1);
      for (const [n] of whole.entries())
        await expect(store("vault", whole.with(n, null))).rejects.toMatchObject({ code: "22004" });
      await expect(store("vault", whole.with(4, new Uint8Array()))).rejects.toMatchObject({ code: "22004" });
      expect(await store("vault", whole)).toBe(id);
    });

    it("let nobody into another organisation, whoever asks", async () => {
      await begin("case-mine");
      await store("vault");
      const mine = scope;
      const inTheirs = (text: string, params: readonly unknown[]) =>
        withOrganization(database, "case-theirs", (tx) => run(tx, text, params), "vault");
      await expect(inTheirs(RETRIEVE, [mine.organizationId, id])).rejects.toMatchObject({ code: "P0002" });
      await expect(inTheirs(RETRIEVE, ["case-theirs", id])).rejects.toMatchObject({ code: "P0002" });
      expect(await inTheirs(DELETE, [mine.organizationId, id])).toEqual([{ gone: false }]);
      const place = [mine.organizationId, parts.randomUUID(), "x", "seven-shifts", "organization", "x", "api_key"];
      await expect(inTheirs(STORE, [...place, ...(await seal("x", 1))])).rejects.toMatchObject({ code: "42501" });
      expect((await retrieve("vault")).length).toBe(1);
    });

    it("let a writer propose, and neither add to nor replace what the vault holds", async () => {
      await begin("case-forgery");
      await store("vault");
      const mine = id;
      id = parts.randomUUID();
      await expect(store("writer")).rejects.toMatchObject({ code: "23505" });
      for (const statement of [
        "INSERT INTO vault.secret DEFAULT VALUES",
        "UPDATE vault.credential_grant SET proposed = false",
      ])
        await expect(as("writer", (tx) => run(tx, statement))).rejects.toMatchObject({ code: "42501" });
      id = mine;
      expect(await openOnce(parts, scope, "api_key", 1, ACCESS)).toBe(PLAINTEXT);
    });

    it("write down what they did, and one opening for a run however often it reads", async () => {
      await begin("case-audit");
      await store("vault");
      await retrieve("vault");
      await retrieve("vault");
      await openOnce(parts, scope, "api_key", 1, ACCESS);
      await rotate("vault", await seal("canary-new", 2));
      await deleteAs("vault");
      expect(await entries()).toEqual([
        "credential.store user-1 1 api_key",
        "credential.open vault - check",
        "credential.rotate user-1 2 api_key",
        "credential.delete user-1 2 api_key",
      ]);
    });

    it("notice a row that is older than the audit says", async () => {
      await begin("case-rollback");
      await store("vault");
      const [old] = await asOwner(database, (tx) => run<{ row: string }>(tx, AS_JSON, [id]));
      const putBack = () => asOwner(database, (tx) => run(tx, PUT_BACK, [old?.row]));
      await rotate("vault", await seal("canary-new", 2));
      await asOwner(database, (tx) => run(tx, "DELETE FROM vault.secret WHERE id = $1", [id]));
      await asOwner(database, (tx) =>
        run(tx, "UPDATE vault.credential_grant SET generation = 1 WHERE secret_ids ->> 'api_key' = $1", [id]),
      );
      await putBack();
      await expect(retrieve("vault")).rejects.toMatchObject({ code: "XX001" });
      await expect(openOnce(parts, scope, "api_key", 1, ACCESS)).rejects.toMatchObject({
        code: "credential_integrity_error",
      });
      // Writing over it would hide it.
      await expect(rotate("vault", await seal("canary-new", 2))).rejects.toMatchObject({ code: "XX001" });
    });

    it("say what protects them", async () => {
      const comments = await asOwner(database, (tx) => run<{ name: string; text: string | null }>(tx, COMMENTS));
      expect(comments.map(({ name }) => name)).toEqual(
        expect.arrayContaining(["store_credential", "retrieve_credential", "rotate_credential", "delete_credential"]),
      );
      for (const { name, text } of comments)
        expect(text, name).toMatch(name.endsWith("_credential") ? /Security model: .*tributary_vault/ : /./);
    });
  });
}

const STORE = "SELECT vault.store_credential($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) AS id";
const RETRIEVE = "SELECT * FROM vault.retrieve_credential($1, $2, NULL, 'check', 'request-1')";
const ROTATE = "SELECT vault.rotate_credential($1, $2, $3, $4, $5, $6, $7, $8, $9) AS id";
const DELETE = "SELECT vault.delete_credential($1, $2, 'user-1') AS gone";
const ACCEPT = "SELECT vault.accept_credential($1, $2, 'user-1')";
const WHOLE_ROW = "SELECT s::text AS text FROM vault.secret s WHERE id = $1";
const AS_JSON = "SELECT to_jsonb(s)::text AS row FROM vault.secret s WHERE id = $1";
const PUT_BACK = "INSERT INTO vault.secret SELECT * FROM jsonb_populate_record(NULL::vault.secret, $1)";
const ENTRIES = `
SELECT concat_ws(' ', action, actor, coalesce(revision::text, '-'), detail) AS line FROM vault.audit
WHERE organization_id = $1 ORDER BY sequence`;
const COMMENTS = `
SELECT proname AS name, obj_description(oid, 'pg_proc') AS text FROM pg_proc
WHERE pronamespace = 'vault'::regnamespace ORDER BY proname`;
