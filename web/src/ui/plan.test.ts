import { expect, it } from "vitest";
import type { ResourceChange } from "../api/types";
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

it("puts what destroys first and leaves out what stays", () => {
  const plan = { changes: [change({ action: "create", address: "c" }), change({ action: "no-op", address: "n" }), change({ action: "read", address: "r" }), change({ action: "delete", address: "d" }), change({ action: "no-op", address: "moved", previous: "old" })] };
  expect(effective(plan).map(({ address }) => address)).toEqual(["moved", "d", "c"]);
  expect(counts({ changes: plan.changes.slice(0, 4) })).toEqual([["delete", 1], ["create", 1]]);
});

it("knows a plan from other details", () => {
  expect(asPlan({ changes: [] })).toBeDefined();
  expect(asPlan([change({})])).toEqual({ changes: [change({})] });
  for (const other of [null, undefined, "text", [], {}, { changes: 3 }, [1]]) expect(asPlan(other)).toBeUndefined();
});
