import { expect, it } from "vitest";
import type { Waiver } from "../../api/types";
import { differences, summary, withWaivers } from "./Variables";

const environments = [{ name: "prod", class: "production", values: { instances: 3, db: "15" }, waivers: [], schema: { properties: { instances: { type: "number", minimum: 2, maximum: 10 }, db: { enum: ["15", "16"] }, debug: { type: "boolean" } } } }];

it("sends only what differs, and null for what goes back to its default", () => {
  expect(differences(environments, { "prod.instances": "4", "prod.db": "15", "prod.debug": "" })).toEqual({ changed: { prod: { instances: 4 } }, count: 1, wrong: false, outside: [] });
  expect(differences(environments, { "prod.db": "" }).changed).toEqual({ prod: { db: null } });
  expect(differences(environments, { "prod.instances": "99" }).wrong).toBe(true);
  expect(differences(environments, {})).toEqual({ changed: {}, count: 0, wrong: false, outside: [] });
});

it("names what it does", () => {
  expect(summary({ prod: { instances: 4, db: null } }, "")).toBe("Set prod.instances to 4, prod.db to its default");
  expect(summary({}, "~1.5")).toBe("Set the pattern to ~1.5");
});

it("tells what a waiver could accept, and takes what one accepts", () => {
  expect(differences(environments, { "prod.instances": "99", "prod.debug": "x" }).outside).toEqual([{ environment: "prod", variable: "instances", value: 99, bound: "Allowed: 2 to 10." }]);
  const waiver = { variable: "instances", value: 99, until: "2026-12-01T00:00:00Z" } as Waiver;
  expect(differences([withWaivers({ ...environments[0]!, waivers: [waiver] })], { "prod.instances": "99" })).toEqual({ changed: { prod: { instances: 99 } }, count: 1, wrong: false, outside: [] });
});
