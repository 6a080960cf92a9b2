import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  type Message,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import fc, { type Arbitrary } from "fast-check";
import { describe, expect, it } from "vitest";
import { layoutOf } from "./encode-layout.ts";
import { encode, eventTypes, TaskChangedSchema, TaskSchema } from "./index.ts";
import { EVERYTHING, OTHERS } from "./testing/everything.ts";

type Encode = (schema: DescMessage, message: Message) => Uint8Array;

/** The bytes, or the refusal: how it is named and what it says. */
function outcome(write: Encode, schema: DescMessage, message: Message): string {
  try {
    return Buffer.from(write(schema, message)).toString("hex");
  } catch (error) {
    return String(error);
  }
}

const expectTheSame = (schema: DescMessage, message: Message): void =>
  expect(outcome(encode, schema, message)).toBe(outcome(toBinary, schema, message));

/** Bytes of `toBinary` have an ArrayBuffer for themselves. */
const isPrepared = (bytes: Uint8Array): boolean => bytes.buffer.byteLength > bytes.length;

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({ maxLength: 300 }),
  // Half of a pair of surrogates is no character.
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 }).map((units) => String.fromCharCode(...units)),
  fc
    .tuple(fc.constantFrom("a", "é", "ż", "猫", "🐈"), fc.constantFrom(15, 16, 17, 42, 43, 127, 128, 5_461, 16_383))
    .map(([unit, times]) => unit.repeat(times)),
);
const float32 = fc.oneof(fc.float(), fc.constantFrom(0, -0, NaN, Infinity, 3.4028234663852886e38, 1e-46));
const integer = (min: number, max: number) =>
  fc.oneof(fc.integer({ min, max }), fc.constantFrom(0, 1, 127, 128, 16_383, 16_384, min, max));
const big = (min: bigint, max: bigint) =>
  fc.oneof(fc.bigInt({ min, max }), fc.constantFrom(0n, 127n, 128n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, min, max));
const signed64 = big(-(2n ** 63n), 2n ** 63n - 1n);
const unsigned64 = big(0n, 2n ** 64n - 1n);
const signed32 = integer(-0x8000_0000, 0x7fff_ffff);
const unsigned32 = integer(0, 0xffff_ffff);

const VALUES: Readonly<Record<ScalarType, Arbitrary<unknown>>> = {
  [ScalarType.DOUBLE]: fc.oneof(fc.double(), fc.constantFrom(0, -0)),
  [ScalarType.FLOAT]: float32,
  [ScalarType.INT64]: signed64,
  [ScalarType.SINT64]: signed64,
  [ScalarType.SFIXED64]: signed64,
  [ScalarType.UINT64]: unsigned64,
  [ScalarType.FIXED64]: unsigned64,
  [ScalarType.INT32]: signed32,
  [ScalarType.SINT32]: signed32,
  [ScalarType.SFIXED32]: signed32,
  [ScalarType.UINT32]: unsigned32,
  [ScalarType.FIXED32]: unsigned32,
  [ScalarType.BOOL]: fc.boolean(),
  [ScalarType.STRING]: text,
  [ScalarType.BYTES]: fc.uint8Array({ maxLength: 200 }),
};

function valueOf(field: DescField): Arbitrary<unknown> {
  if (field.message !== undefined) return messageOf(field.message);
  return field.scalar === undefined ? signed32 : VALUES[field.scalar];
}

/** Any message of the type. One field in three is not set, so that what is left out is met as often as what is not. */
function messageOf(schema: DescMessage): Arbitrary<Message> {
  const members = schema.members.map((member) => {
    if (member.kind === "oneof")
      return fc.oneof(
        fc.constant(undefined),
        ...member.fields.map((field) => valueOf(field).map((value) => ({ case: field.localName, value }))),
      );
    return member.fieldKind === "list"
      ? fc.oneof(fc.constant([]), fc.array(valueOf(member), { maxLength: 5 }))
      : fc.option(valueOf(member), { nil: undefined, freq: 2 });
  });
  return fc.tuple(...members).map((values) => {
    const set = schema.members.flatMap(({ localName }, index) =>
      values[index] === undefined ? [] : [[localName, values[index]]],
    );
    return create(schema, Object.fromEntries(set));
  });
}

describe("encode", () => {
  it("is prepared for every event, and for every kind of field but those that are told below", () => {
    for (const schema of [...eventTypes.values(), EVERYTHING]) expect(layoutOf(schema), schema.typeName).toBeDefined();
  });

  it.each([...eventTypes.values(), EVERYTHING].map((schema) => [schema.typeName, schema] as const))(
    "writes %s as protobuf-es does",
    (_, schema) => {
      let prepared = 0;
      const numRuns = schema === EVERYTHING ? 5_000 : 1_000;
      const check = (message: Message) => {
        const bytes = encode(schema, message);
        if (isPrepared(bytes)) prepared++;
        return Buffer.compare(bytes, toBinary(schema, message)) === 0;
      };
      fc.assert(fc.property(messageOf(schema), check), { numRuns });
      expect(prepared / numRuns).toBeGreaterThan(0.8);
    },
  );

  it("writes what every release has published as it was published", () => {
    const folder = new URL("../../../proto/golden/", import.meta.url);
    const read = (path: string) => readFileSync(fileURLToPath(new URL(path, folder)));
    const releases = JSON.parse(read("releases.json").toString()) as { version: string; payloads: object }[];
    const paths = releases.flatMap(({ version, payloads }) => Object.keys(payloads).map((type) => [version, type]));
    expect(paths.length).toBeGreaterThanOrEqual(7);
    for (const [version = "", type = ""] of paths) {
      const schema = eventTypes.get(type);
      if (schema === undefined) throw new Error(`${type} is not in the registry`);
      const published = read(`${version}/${type}.binpb`);
      const bytes = encode(schema, fromBinary(schema, published));
      expect(Buffer.from(bytes).equals(published)).toBe(true);
      expect(isPrepared(bytes)).toBe(true);
    }
  });

  it.each(OTHERS)("leaves a type with %s to protobuf-es", (_, schema, value) => {
    expect(layoutOf(schema)).toBeUndefined();
    for (const message of [create(schema), create(schema, { value })]) expectTheSame(schema, message);
    expect(outcome(encode, schema, create(schema, { value }))).not.toBe("");
  });

  it("refuses and coerces what is not of a field's type as protobuf-es does", () => {
    const odd = [null, undefined, -1, 0, -0, 0.5, 1, 2 ** 31, 2 ** 32, 2 ** 53, 1e39, NaN, Infinity, true, false];
    const more = [
      "",
      "7",
      "x",
      0n,
      7n,
      -1n,
      2n ** 63n,
      2n ** 64n,
      -(2n ** 63n) - 1n,
      {},
      [],
      [{}],
      [null],
      new Date(0),
    ];
    const refused = new Set<boolean>();
    for (const { localName } of EVERYTHING.members)
      for (const value of [...odd, ...more, new Uint8Array(), new Uint8Array(2), [-0, 1], [1n], ["x"], [1, "x"]]) {
        const message = Object.assign(create(EVERYTHING), { [localName]: value });
        expectTheSame(EVERYTHING, message);
        refused.add(outcome(encode, EVERYTHING, message).includes("rror"));
      }
    for (const { localName } of EVERYTHING.oneofs[0]?.fields ?? [])
      for (const value of [...odd, ...more])
        expectTheSame(EVERYTHING, Object.assign(create(EVERYTHING), { choice: { case: localName, value } }));
    expect(refused.size).toBe(2);
  });

  it("writes fields that it does not know, other types' messages and messages of a class as protobuf-es does", () => {
    const task = create(TaskSchema, { id: "1" });
    const grown = Object.assign(create(TaskSchema, { id: "1" }), {
      $unknown: [{ no: 900, wireType: 2, data: new Uint8Array([1, 65]) }],
    });
    const inherited = Object.assign(Object.create({ task }) as object, { $typeName: TaskChangedSchema.typeName });
    for (const message of [task, grown, create(TaskChangedSchema, { task: grown }), inherited as Message])
      for (const schema of [TaskSchema, TaskChangedSchema]) expectTheSame(schema, message);
  });

  it("writes messages of every length, and none over another that it has handed out", () => {
    const lengths = [0, 120, 16_000, 21_000, 65_000, 70_000, 300_000];
    const messages = Array.from({ length: 60 }, (_, index) =>
      create(TaskSchema, { id: String(index), title: "x".repeat(lengths[index % lengths.length] ?? 0), labels: ["ż"] }),
    );
    const kept = messages.map((message) => encode(TaskSchema, message));
    for (const [index, message] of messages.entries())
      expect(Buffer.compare(kept[index] ?? Buffer.alloc(0), toBinary(TaskSchema, message))).toBe(0);
  });

  const atTheEnd: readonly Readonly<Record<string, unknown>>[] = [
    { implicitDouble: 1.5 },
    { implicitFixed64: 7n },
    { implicitFloat: 1.5 },
    { implicitInt64: -1n },
    { implicitBytes: new Uint8Array(20) },
    { implicitInner: { note: "猫".repeat(43) } },
    { implicitInner: { note: "猫".repeat(6_000) } },
    { listBool: Array.from({ length: 130 }, () => true) },
    { listDouble: [1, 2] },
    { listInner: Array.from({ length: 9 }, () => ({})) },
    { unpackedBool: Array.from({ length: 20 }, () => true) },
    { unpackedSfixed32: [1, 2, 3] },
    { choice: { case: "choiceString", value: "x".repeat(16) } },
  ];

  it.each(atTheEnd.map((fields) => [Object.keys(fields)[0], fields] as const))(
    "leaves a message to protobuf-es when %s lacks a byte of room",
    (_, fields) => {
      const filler = create(EVERYTHING, { optionalBytes: new Uint8Array(16_000) });
      const prepared = new Set<boolean>();
      const most = 65_540 - toBinary(EVERYTHING, create(EVERYTHING, fields)).length;
      for (let length = most - 45; length <= most; length++) {
        // The next message begins on a new page.
        for (let turn = 0; turn < 9 && encode(EVERYTHING, filler).byteOffset < 48_000; turn++);
        const message = create(EVERYTHING, { optionalBytes: new Uint8Array(length), ...fields });
        const bytes = encode(EVERYTHING, message);
        prepared.add(isPrepared(bytes));
        expect(Buffer.compare(bytes, toBinary(EVERYTHING, message))).toBe(0);
      }
      expect(prepared.size).toBe(2);
    },
  );
});
