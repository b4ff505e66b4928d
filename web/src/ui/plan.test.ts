import { expect, it } from "vitest";
import type { Plan, ResourceChange } from "../api/types";
import { asPlan, counts, effective, lines } from "./plan";

const change = (over: Partial<ResourceChange>): ResourceChange => ({ address: "a.b", type: "a", action: "update", before: null, after: null, ...over });

it("shows only what differs, and first what forces a replacement", () => {
  const found = lines(change({
    action: "replace", replace_paths: ["size_mb"],
    before: { name: "x", size_mb: 100, env: { A: "1", B: "(sensitive)" }, command: ["a", "b"] },
    after: { name: "x", size_mb: 200, env: { A: "2", B: "(sensitive)" }, command: ["a", "c"], url: "(known after apply)" },
  }));
  expect(found).toEqual([
    { name: "size_mb", before: "100", after: "200", forces: true },
    { name: "env.A", before: "1", after: "2", forces: false },
    { name: "command", before: '["a","b"]', after: '["a","c"]', forces: false },
    { name: "url", before: undefined, after: "(known after apply)", forces: false },
  ]);
});

it("shows what the effects name, in their order", () => {
  const plan: Plan = {
    changes: [change({ action: "create", address: "c" }), change({ action: "no-op", address: "n" }), change({ action: "read", address: "r" }), change({ action: "delete", address: "d" }), change({ action: "delete", address: "n", deposed: "c0ffee00" }), change({ action: "update", address: "moved", previous: "old" })],
    effects: [{ kind: "destroy", address: "d" }, { kind: "destroy_deposed", address: "n", deposed: "c0ffee00" }, { kind: "update", address: "moved" }, { kind: "create", address: "c" }, { kind: "move", address: "moved", previous: "old" }, { kind: "invoke", address: "action.mail.x" }, { kind: "output", address: "url" }, { kind: "read", address: "r" }, { kind: "check", address: "check.up" }],
  };
  expect(effective(plan).map(({ change, kinds }) => [change.address, change.deposed, kinds])).toEqual([["d", undefined, ["destroy"]], ["n", "c0ffee00", ["destroy_deposed"]], ["moved", undefined, ["update", "move"]], ["c", undefined, ["create"]]]);
  expect(counts(plan)).toEqual([["destroy", 1], ["destroy_deposed", 1], ["update", 1], ["create", 1], ["move", 1], ["invoke", 1], ["output", 1], ["read", 1], ["check", 1]]);
});

it("still shows a plan that was stored without effects", () => {
  expect(counts({ changes: [change({ action: "delete", address: "d" }), change({ action: "no-op", address: "n" })] })).toEqual([["destroy", 1]]);
});

it("knows a plan from other details", () => {
  expect(asPlan({ changes: [] })).toBeDefined();
  expect(asPlan([change({})])).toEqual({ changes: [change({})] });
  for (const other of [null, undefined, "text", [], {}, { changes: 3 }, [1]]) expect(asPlan(other)).toBeUndefined();
});
