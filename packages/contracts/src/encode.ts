import { type DescMessage, type MessageShape, ScalarType, toBinary } from "@bufbuild/protobuf";
import { type Field, type Layout, layoutOf } from "./encode-layout.ts";

/**
 * The message in protobuf's binary format, byte for byte as `toBinary` of protobuf-es writes it, faster. The schema is
 * looked through once. A schema with something that is not prepared for, and a message that is large or not as its schema
 * says, is left to `toBinary`. What is answered shares its ArrayBuffer with other messages: it may be read and copied,
 * not transferred. Measured with tasks of 260 bytes: 1.3 µs a message and not 3.7, and 21 % less CPU in a commit of 500.
 * @throws what `toBinary` throws: an Error that names the field with a value that its type cannot hold.
 */
export function encode<T extends DescMessage>(schema: T, message: MessageShape<T>): Uint8Array {
  const layout = layoutOf(schema);
  if (layout === undefined) return toBinary(schema, message);
  if (page.used > PAGE_BYTES - MESSAGE_BYTES) page = newPage();
  const start = page.used;
  const end = writeMessage(layout, message, start);
  if (end === UNFIT) return toBinary(schema, message);
  page.used = end;
  return page.bytes.subarray(start, end);
}

/** A message has at least so much room, in which each UTF-16 unit of a text counts as 3 bytes; more where the page has it. */
const MESSAGE_BYTES = 16_384;
const PAGE_BYTES = 65_536;

/** Messages are written one behind the other and handed out where they stand: a copy took as long as the writing. */
function newPage() {
  const bytes = new Uint8Array(PAGE_BYTES);
  return { bytes, text: Buffer.from(bytes.buffer), view: new DataView(bytes.buffer), used: 0 };
}
let page = newPage();

/** Up to this offset there is room for a number. A tag may go beyond: a byte behind the end is not written, and a value follows. */
const LAST = PAGE_BYTES - 10;
/** In place of an offset: the message is one for `toBinary`, which knows how to coerce, how to refuse, and how to grow. */
const UNFIT = -1;

/** @returns the offset behind what was written, or UNFIT. So do all that follow. */
function writeMessage(layout: Layout, message: unknown, start: number): number {
  if (!isRecord(message) || Object.getPrototypeOf(message) !== Object.prototype) return UNFIT;
  if (message["$typeName"] !== layout.typeName || message["$unknown"] !== undefined) return UNFIT;
  let at = start;
  for (const field of layout.fields) {
    const value = message[field.property];
    if (field.shape === "list") at = writeList(field, value, at);
    else if (field.shape === "oneof") at = writeOneof(field, value, at);
    else if (value !== field.absent || Object.is(value, -0)) at = writeSingle(field, value, at);
    if (at === UNFIT) return UNFIT;
  }
  return at;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;

function writeSingle(field: Field, value: unknown, at: number): number {
  const empty = field.type === ScalarType.BYTES && field.absent !== undefined && isEmpty(value);
  return empty ? at : writeTagged(field, value, at);
}

const isEmpty = (value: unknown): boolean => value instanceof Uint8Array && value.length === 0;

function writeOneof(field: Field, oneof: unknown, at: number): number {
  if (!isRecord(oneof)) return UNFIT;
  return oneof["case"] === field.oneofCase ? writeTagged(field, oneof["value"], at) : at;
}

function writeList(field: Field, list: unknown, start: number): number {
  if (!Array.isArray(list)) return UNFIT;
  const values = list as readonly unknown[];
  if (values.length === 0 || !field.packed) return writeEach(writeTagged, field, values, start);
  const lengthAt = writeVarint(field.tag, start);
  const end = writeEach(writeValue, field, values, lengthAt + 1);
  return end === UNFIT ? UNFIT : putLength(lengthAt, lengthAt + 1, end);
}

function writeEach(write: typeof writeValue, field: Field, values: readonly unknown[], start: number): number {
  let at = start;
  for (const value of values) {
    at = write(field, value, at);
    if (at === UNFIT) return UNFIT;
  }
  return at;
}

const writeTagged = (field: Field, value: unknown, at: number): number =>
  writeValue(field, value, writeVarint(field.tag, at));

function writeValue(field: Field, value: unknown, at: number): number {
  if (at > LAST) return UNFIT;
  switch (typeof value) {
    case "string":
      return field.type === ScalarType.STRING ? writeString(value, at) : UNFIT;
    case "number":
      return writeNumber(field.type, value, at);
    case "bigint":
      return writeBigint(field.type, value, at);
    case "boolean":
      return field.type === ScalarType.BOOL ? writeVarint(value ? 1 : 0, at) : UNFIT;
    default:
      return field.layout === undefined ? writeBytes(field.type, value, at) : writeNested(field.layout, value, at);
  }
}

function writeNested(layout: Layout, message: unknown, at: number): number {
  const end = writeMessage(layout, message, at + 1);
  return end === UNFIT ? UNFIT : putLength(at, at + 1, end);
}

/** Puts the length of what stands from `body` to `end` at `at`, and moves it when another place was kept for the length. */
function putLength(at: number, body: number, end: number): number {
  const length = end - body;
  const moved = at + widthOf(length);
  if (moved + length > PAGE_BYTES) return UNFIT;
  if (moved !== body) page.bytes.copyWithin(moved, body, end);
  writeVarint(length, at);
  return moved + length;
}

/** Of a length on a page. */
const widthOf = (length: number): number => (length < 0x80 ? 1 : length < 0x4000 ? 2 : 3);

function writeBytes(type: Field["type"], value: unknown, at: number): number {
  if (type !== ScalarType.BYTES || !(value instanceof Uint8Array) || at + 3 + value.length > PAGE_BYTES) return UNFIT;
  const body = writeVarint(value.length, at);
  page.bytes.set(value, body);
  return body + value.length;
}

/** Up to this length a loop is faster than a call out of JavaScript. */
const SHORT = 16;

function writeString(value: string, at: number): number {
  const units = value.length;
  // A UTF-16 unit takes at most 3 bytes.
  if (at + 3 + units * 3 > PAGE_BYTES) return UNFIT;
  if (units <= SHORT && writeAscii(value, at + 1)) return putLength(at, at + 1, at + 1 + units);
  const body = at + widthOf(units);
  return putLength(at, body, body + page.text.write(value, body));
}

function writeAscii(value: string, at: number): boolean {
  const { bytes } = page;
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index);
    if (code > 0x7f) return false;
    bytes[at + index] = code;
  }
  return true;
}

function writeNumber(type: Field["type"], value: number, at: number): number {
  const { view } = page;
  if (type === ScalarType.DOUBLE) {
    view.setFloat64(at, value, true);
    return at + 8;
  }
  if (type === ScalarType.FLOAT) {
    if (Number.isFinite(value) && !Number.isFinite(Math.fround(value))) return UNFIT;
    view.setFloat32(at, value, true);
    return at + 4;
  }
  const signed = value === (value | 0) && !Object.is(value, -0);
  const unsigned = value === value >>> 0 && !Object.is(value, -0);
  switch (type) {
    case ScalarType.INT32:
      if (!signed) return UNFIT;
      return value < 0 ? writeVarint64(BigInt(value), at) : writeVarint(value, at);
    case ScalarType.SINT32:
      return signed ? writeVarint(((value << 1) ^ (value >> 31)) >>> 0, at) : UNFIT;
    case ScalarType.UINT32:
      return unsigned ? writeVarint(value, at) : UNFIT;
    case ScalarType.SFIXED32:
    case ScalarType.FIXED32:
      if (!(type === ScalarType.FIXED32 ? unsigned : signed)) return UNFIT;
      view.setUint32(at, value, true);
      return at + 4;
    default:
      return UNFIT;
  }
}

function writeBigint(type: Field["type"], value: bigint, at: number): number {
  // Times are far below: two comparisons of numbers are faster than those of bigints.
  const small = Number(value);
  const safe = small >= 0 && small <= Number.MAX_SAFE_INTEGER;
  const signed = safe || BigInt.asIntN(64, value) === value;
  const unsigned = safe || BigInt.asUintN(64, value) === value;
  switch (type) {
    case ScalarType.INT64:
    case ScalarType.UINT64:
      if (!(type === ScalarType.INT64 ? signed : unsigned)) return UNFIT;
      return safe ? writeVarint(small, at) : writeVarint64(value, at);
    case ScalarType.SINT64:
      return signed ? writeVarint64((value << 1n) ^ (value >> 63n), at) : UNFIT;
    case ScalarType.SFIXED64:
    case ScalarType.FIXED64:
      if (!(type === ScalarType.SFIXED64 ? signed : unsigned)) return UNFIT;
      page.view.setBigInt64(at, value, true);
      return at + 8;
    default:
      return UNFIT;
  }
}

/** @param value a safe integer of 0 or more. */
function writeVarint(value: number, at: number): number {
  const { bytes } = page;
  let rest = value;
  let end = at;
  for (; rest >= 0x8000_0000; rest = Math.floor(rest / 0x80)) bytes[end++] = (rest % 0x80) | 0x80;
  for (; rest > 0x7f; rest >>>= 7) bytes[end++] = (rest & 0x7f) | 0x80;
  bytes[end++] = rest;
  return end;
}

/** Of 64 bits, with negative numbers in two's complement. */
function writeVarint64(value: bigint, at: number): number {
  let rest = BigInt.asUintN(64, value);
  let end = at;
  for (; rest > 0x7fn; rest >>= 7n) page.bytes[end++] = Number(rest & 0x7fn) | 0x80;
  page.bytes[end++] = Number(rest);
  return end;
}
