import { expect, it } from "vitest";
import { differences, summary } from "./Variables";

const environments = [{ name: "prod", class: "production", values: { instances: 3, db: "15" }, schema: { properties: { instances: { type: "number", minimum: 2, maximum: 10 }, db: { enum: ["15", "16"] }, debug: { type: "boolean" } } } }];

it("sends only what differs, and null for what goes back to its default", () => {
  expect(differences(environments, { "prod.instances": "4", "prod.db": "15", "prod.debug": "" })).toEqual({ changed: { prod: { instances: 4 } }, count: 1, wrong: false });
  expect(differences(environments, { "prod.db": "" }).changed).toEqual({ prod: { db: null } });
  expect(differences(environments, { "prod.instances": "99" }).wrong).toBe(true);
  expect(differences(environments, {})).toEqual({ changed: {}, count: 0, wrong: false });
});

it("names what it does", () => {
  expect(summary({ prod: { instances: 4, db: null } }, "")).toBe("Set prod.instances to 4, prod.db to its default");
  expect(summary({}, "~1.5")).toBe("Set the pattern to ~1.5");
});
