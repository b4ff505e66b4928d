import { describe, expect, it } from "vitest";
import { Exact } from "../api/exact";
import { bounds, kind, parse, typed } from "./schema";

describe("bounds", () => {
  it.each([
    [{ type: "integer", minimum: 1, maximum: 10 }, "1 to 10"],
    [{ enum: ["15", "16"] }, "one of 15, 16"],
    [{ type: "integer", minimum: 2 }, "at least 2"],
    [{ type: "string", minLength: 2, maxLength: 40, pattern: "^a" }, "2 to 40 characters, matches ^a"],
    [{ type: "number", exclusiveMinimum: 0, multipleOf: 0.5 }, "more than 0, in steps of 0.5"],
    [{ type: "string" }, ""],
  ])("%j reads %s", (schema, text) => expect(bounds(schema)).toBe(text));
});

describe("parse", () => {
  it.each([
    [{ type: "integer", minimum: 1, maximum: 10 }, "3", { value: 3 }],
    [{ type: "integer", minimum: 1, maximum: 10 }, "11", { error: "Allowed: 1 to 10.", outside: 11 }],
    [{ type: "integer", maximum: 10, waived: [{ value: 40, until: "2026-12-01T00:00:00Z" }] }, "40", { value: 40 }],
    [{ type: "integer", maximum: 10, waived: [{ value: 40, until: "2026-12-01T00:00:00Z" }] }, "41", { error: "Allowed: at most 10.", outside: 41 }],
    [{ type: "integer" }, "1.5", { error: "Must be a whole number." }],
    [{ type: "number", multipleOf: 0.1 }, "0.3", { value: 0.3 }],
    [{ type: "number" }, "x", { error: "Must be a number, for example 3 or 0.5." }],
    [{ type: "number" }, "02142", { error: "Must be a number, for example 3 or 0.5." }],
    [{ type: "number" }, "9007199254740993", { value: new Exact("9007199254740993") }],
    [{ type: "number", maximum: 9007199254740992 }, "9007199254740993", { error: "Allowed: at most 9007199254740992.", outside: new Exact("9007199254740993") }],
    [{}, "3", { value: 3 }],
    [{}, "02142", { value: "02142" }],
    [{ enum: ["15", 16] }, "16", { value: 16 }],
    [{ enum: ["15"] }, "14", { error: "Allowed: one of 15." }],
    [{ type: "boolean" }, "true", { value: true }],
    [{ type: "array" }, '["a"]', { value: ["a"] }],
    [{ type: "object" }, "{", { error: 'Must be JSON, for example ["a", "b"].' }],
    [{ type: "string", pattern: "^[a-z]+$" }, "a1", { error: "Allowed: matches ^[a-z]+$.", outside: "a1" }],
    [{ type: "string", minLength: 3 }, "", {}],
  ])("%j takes %s as %j", (schema, text, want) => expect(parse(schema, text)).toEqual(want));
  it("gives back what it shows", () => expect([3, "x", true, ["a"], undefined].map(typed)).toEqual(["3", "x", "true", '["a"]', ""]));
  it("guesses a number from its bounds", () => expect(kind({ minimum: 1 })).toBe("number"));
});
