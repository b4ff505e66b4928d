import { describe, expect, it } from "vitest";
import { duration, match, plural, prose, relative, sentence, short, show } from "./text";

const now = new Date("2026-03-01T12:00:00Z");
const ago = (seconds: number) => new Date(now.getTime() - seconds * 1000);

describe("relative", () => {
  it.each([[0, "just now"], [9, "just now"], [30, "30 sec. ago"], [90, "1 min. ago"], [7199, "1 hr. ago"], [86_400 * 3, "3 days ago"], [-86_400 * 90, "in 90 days"], [86_400 * 800, "2 yr. ago"], [-120, "in 2 min."]])(
    "says %d seconds ago as %s", (seconds, text) => expect(relative(ago(seconds), now, "en")).toBe(text));
});

describe("duration", () => {
  it.each([[-5, "0 ms"], [340, "340 ms"], [4230, "4.2 s"], [59_999, "1 min"], [185_000, "3 min 5 s"], [7_800_000, "2 h 10 min"], [7_200_000, "2 h"]])(
    "says %d ms as %s", (ms, text) => expect(duration(ms, "en")).toBe(text));
});

describe("short", () => {
  it("keeps ids and cuts digests and commits", () => {
    expect(short("chg_d0c5ghq23akk2s3lvr9g")).toBe("chg_d0c5ghq23akk2s3lvr9g");
    expect(short(`sha256:${"ab".repeat(32)}`)).toBe("abababababab");
    expect(short("c".repeat(40))).toBe("cccccccccc");
  });
});

it("shows values as people write them", () => {
  expect([undefined, "", "a", 3, true, ["x"], { a: 1 }].map(show)).toEqual(["—", '""', "a", "3", "true", '["x"]', '{"a":1}']);
});

it("counts in words", () => expect([plural(1, "app"), plural(0, "app"), plural(2, "reply", "replies")]).toEqual(["1 app", "0 apps", "2 replies"]));

it("makes a sentence of what the API begins small", () => {
  expect(sentence("every check is green")).toBe("Every check is green.");
  expect(sentence("prod.instances 2 → 3: allowed")).toBe("prod.instances 2 → 3: allowed.");
  expect(sentence("Merge it with `flywheel change merge`.")).toBe("Merge it with `flywheel change merge`.");
});

it("leaves trailers to their places", () => {
  expect(prose("Why it is so.\n\nStory: STY-1\nNeeds: chg_1\n")).toBe("Why it is so.");
  expect(prose("Story: STY-1")).toBe("");
  expect(prose("Story: is a word\n\nand more")).toBe("Story: is a word\n\nand more");
  expect(prose(undefined)).toBe("");
});

describe("match", () => {
  it("prefers beginnings, then words, then insides, then letters in order", () => {
    const found = ["storefront", "the store", "restore", "s t o r e"].map((text) => match("store", text));
    expect(found[0]).toBeGreaterThan(found[1]!);
    expect(found[1]).toBeGreaterThan(found[2]!);
    expect(match("sfrt", "storefront")).toBeGreaterThan(0);
    expect(match("xyz", "storefront")).toBe(0);
  });
});
