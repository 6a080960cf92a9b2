import { describe, expect, it } from "vitest";
import { readAnswer } from "./oauth-answer.ts";

const read = (text: string) => readAnswer(Buffer.from(text));

describe("a token endpoint's answer", () => {
  it.each(["", "null", "[]", '"text"', "7", "{", '{"a":1} x', "<html></html>", "a=1&b=2"])(
    "is none when it is %j",
    (text) => expect(read(text)).toBeUndefined(),
  );

  it.each([
    '{"access_token":"a","access_token":"b"}',
    '{"access_token":"a","access\\u005ftoken":"b"}',
    '{"a" : 1 , "b": {"c": 2}, "a" : 3}',
    '{"a":[{"b":1}],"c":"\\\\\\"}","c":1}',
  ])("is none when it names a member twice: %s", (text) => expect(read(text)).toBeUndefined());

  it.each(['{"a":{"b":1},"c":{"b":2},"d":["a","a"],"e":"a"}', '{"a":"\\"a\\":","b":"{"}'])(
    "may repeat itself deeper down, and in its values: %s",
    (text) => expect(read(text)).toEqual(JSON.parse(text)),
  );

  it("is none when it is not UTF-8", () => {
    expect(readAnswer(Buffer.from([...Buffer.from('{"a":"'), 0xc3, 0x28, ...Buffer.from('"}')]))).toBeUndefined();
  });

  it.each([
    [3600, 3600],
    ["3600", 3600],
    [3599.9, 3599],
    ["3599.9", 3599],
    [0, undefined],
    [-1, undefined],
    ["-1", undefined],
    [1e12, undefined],
    ["soon", undefined],
    ["", undefined],
    ["0x10", undefined],
    ["1e3", undefined],
    [null, undefined],
    [true, undefined],
    [[60], undefined],
  ])("with a life of %j has one of %j", (life, seconds) => {
    expect(read(JSON.stringify({ expires_in: life }))).toEqual(seconds === undefined ? {} : { expires_in: seconds });
  });

  it("has scopes as text, and no ID token", () => {
    expect(read('{"scope":["a","b"],"id_token":"x"}')).toEqual({ scope: "a b" });
    expect(read('{"scope":"a b"}')).toEqual({ scope: "a b" });
    expect(read('{"scope":7}')).toEqual({});
    expect(read('{"scope":["a",{}]}')).toEqual({});
  });
});
