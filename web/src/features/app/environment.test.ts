import { expect, it } from "vitest";
import { meant } from "../../ui/schema";
import { written } from "./EnvironmentPage";

it("reads a value as JSON where it is that, and writes it so that it comes back the same", () => {
  expect(meant("3")).toBe(3);
  expect(meant("vpc-1")).toBe("vpc-1");
  for (const value of ["vpc-1", "3", "true", "", 3, true, ["a"], { a: 1 }]) expect(meant(written(value))).toEqual(value);
});
