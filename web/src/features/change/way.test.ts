import { expect, it } from "vitest";
import type { ChangeDetail } from "../../api/types";
import { way } from "./way";

const detail = (change: object, more: object = {}) => ({ change: { kind: "app", state: "checking", effects: [], ...change }, checks: [], deployments: [], ...more }) as unknown as ChangeDetail;
const told = (of: ChangeDetail) => way(of).map(({ name, state, note }) => [name, state, note].filter(Boolean).join(" "));
const effects = [{ environment: "staging" }, { environment: "prod" }];

it("tells what is behind a change, where it stands and what comes", () => {
  expect(told(detail({}))).toEqual(["Lane running", "Checks pending", "Merge pending"]);
  const checks = [{ name: "lane", state: "passed" }, { name: "tests", state: "running" }, { name: "plan: prod", state: "passed" }];
  expect(told(detail({ lane: "variable", effects }, { checks }))).toEqual(["Lane passed variable", "Checks running 1 of 2", "Merge pending", "staging pending", "prod pending"]);
  expect(told(detail({ lane: "software", state: "merged", effects }, { checks: [{ name: "tests", state: "passed" }], deployments: [{ environment: "staging", state: "failed" }, { environment: "staging", state: "succeeded" }, { environment: "prod", state: "running" }] })))
    .toEqual(["Lane passed software", "Checks passed 1 check", "Merge passed", "staging succeeded", "prod running"]);
});

it("ends where a change ended", () => {
  expect(told(detail({ state: "refused" }))).toEqual(["Lane refused", "Checks pending", "Merge refused refused"]);
  expect(told(detail({ lane: "software", state: "held", effects }, { checks: [{ name: "plan: prod", state: "held" }] }))).toEqual(["Lane passed software", "Checks held 1 check", "Merge held held", "staging pending", "prod pending"]);
});

it("shows an environment that went back as rolled back, not as well", () => {
  const deployments = [{ environment: "staging", state: "failed", trigger: "change" }, { environment: "staging", state: "succeeded", trigger: "rollback" }];
  expect(told(detail({ lane: "software", state: "rolled_back", effects }, { deployments }))).toEqual(["Lane passed software", "Checks pending", "Merge passed", "staging rolled_back rolled back", "prod pending"]);
});

it("says for what a change waits", () => {
  expect(told(detail({ lane: "software", state: "waiting", code: "change.outer_awaited" }))).toEqual(["Lane passed software", "Checks pending", "Merge waiting waits for the outer CI"]);
  expect(told(detail({ lane: "pattern", state: "waiting" }))).toEqual(["Lane passed pattern", "Checks pending", "Merge waiting waits for a pattern"]);
});

it("counts the approvals that are valid for what is shown", () => {
  const certification = { needed: { security: 1, operations: 1 }, digest: "new", approvals: [{ decision: "approved", digest: "new", lapsed: "sam is not active any more" }, { decision: "approved", digest: "new" }] };
  expect(told(detail({ kind: "pattern", lane: "pattern", state: "review" }, { certification, checks: [{ name: "gate", state: "passed" }] }))).toEqual(["Lane passed pattern", "Checks passed 1 check", "Approvals review 1 of 2", "Publish pending"]);
});
