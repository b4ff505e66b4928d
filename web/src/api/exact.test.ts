import { expect, it } from "vitest";
import { compare, Exact, multiple, number, parseExact } from "./exact";

it("keeps the digits that JavaScript would round", () => {
  const text = '{"big":9007199254740993,"typed":1.10,"small":3,"text":"9007199254740993 \\" 1.10","list":[123456789012345678901234567890,-1.5,0.1]}';
  const read = parseExact(text) as Record<string, unknown>;
  expect(read).toEqual({ big: new Exact("9007199254740993"), typed: new Exact("1.10"), small: 3, text: '9007199254740993 " 1.10', list: [new Exact("123456789012345678901234567890"), -1.5, 0.1] });
  expect(`${read.big}`).toBe("9007199254740993");
  expect(JSON.stringify(read)).toBe("rawJSON" in JSON ? text : text.replace(/([:[])(9007199254740993|1\.10|1234\d+)/g, '$1"$2"'));
});

it("reads everything else as JSON.parse does", () => {
  for (const text of ["null", "[]", '"a"', "1e+21", "-0.5", '{"a":{"b":[true,false,null]}}', '"\\u0000 1"']) expect(parseExact(text)).toEqual(JSON.parse(text));
  for (const text of ["", "02142", "1.10.1", "{", "9007199254740993 9007199254740993"]) expect(() => parseExact(text)).toThrow();
});

it("compares exactly", () => {
  expect(compare("9007199254740993", 9007199254740992)).toBe(1);
  expect(compare(number("9007199254740993"), "9007199254740993")).toBe(0);
  expect(compare("1e3", 1000)).toBe(0);
  expect(compare("-1.10", -1.1)).toBe(0);
  expect(compare("x", 1)).toBe(NaN);
  expect([multiple("0.3", 0.1), multiple("9007199254740993", 2), multiple("4", 2)]).toEqual([true, false, true]);
});
