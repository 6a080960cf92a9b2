import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Ajv, type ValidateFunction } from "ajv";
import { describe, expect, it } from "vitest";
import { repositoryRoot } from "../tree.ts";

// The official schema of the specification, from its own package: draft 7, formats are only notes in it.
const official = createRequire(import.meta.url)("@asyncapi/specs/schemas/3.0.0-without-$id.json") as object;
const document = JSON.parse(readFileSync(join(repositoryRoot, "docs/events/asyncapi.json"), "utf8")) as Document;

interface Document {
  readonly channels: Readonly<Record<string, { readonly address: string; readonly parameters: object }>>;
  readonly operations: object;
  readonly components: {
    readonly messages: Readonly<Record<string, { readonly examples: readonly { readonly payload: unknown }[] }>>;
    readonly schemas: Readonly<Record<string, object>>;
  };
}

const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
const isAsyncApi = ajv.compile(official);

/** A payload's schema refers to its neighbours in the document. */
function schemaOf(type: string): ValidateFunction {
  const { schemas } = document.components;
  return ajv.compile({ $ref: `#/components/schemas/${type}`, components: { schemas } });
}

describe("the AsyncAPI document", () => {
  it("is one, by the schema of AsyncAPI 3.0", () => {
    isAsyncApi(document);
    expect(isAsyncApi.errors).toBeNull();
  });

  it("would not pass with an operation that does nothing AsyncAPI knows", () => {
    const [first = ""] = Object.keys(document.operations);
    expect(isAsyncApi({ ...document, operations: { [first]: { action: "shout", channel: {} } } })).toBe(false);
  });

  it("refers only to what is there", () => {
    const refs = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path = ""]) => path);
    const found = (path: string): unknown =>
      path.split("/").reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], document);
    expect(refs.length).toBeGreaterThan(20);
    expect(refs.filter((path) => found(path) === undefined)).toEqual([]);
  });

  it("names a parameter for each brace of an address", () => {
    for (const { address, parameters } of Object.values(document.channels))
      expect(Object.keys(parameters)).toEqual([...address.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
  });

  it.each(Object.entries(document.components.messages))("describes %s as its example is", (type, { examples }) => {
    const validate = schemaOf(type);
    for (const { payload } of examples) {
      validate(payload);
      expect(validate.errors).toBeNull();
    }
    // A schema that takes everything says nothing.
    const [field] = Object.keys(examples[0]?.payload ?? {});
    expect(validate({ [field ?? ""]: 7 })).toBe(false);
  });

  it("describes every payload that was ever released", () => {
    const golden = join(repositoryRoot, "proto/golden");
    const releases = JSON.parse(readFileSync(join(golden, "releases.json"), "utf8")) as {
      readonly version: string;
      readonly payloads: object;
    }[];
    for (const { version, payloads } of releases)
      for (const type of Object.keys(payloads)) {
        const validate = schemaOf(type);
        validate(JSON.parse(readFileSync(join(golden, version, `${type}.json`), "utf8")));
        expect(validate.errors, `${version} ${type}`).toBeNull();
      }
  });
});
