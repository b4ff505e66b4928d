import { expect, it } from "vitest";
import { moments } from "./timeline";

let n = 0;
const event = (type: string, subject: string, data: object) => ({ id: `evt_${++n}`, time: "2026-01-01T00:00:00Z", type: `dev.cdevents${type.startsWith("x.") ? "" : "."}${type}`, subject, data });
const texts = (events: ReturnType<typeof event>[]) => moments(events).map(({ by, text }) => (by ? `${by}: ${text}` : text));

const states: Record<string, string> = { merged: "change.merged", deployed: "x.flywheel-change.deployed" };

it("says what happened once, and who did it", () => {
  const of = { revision: 1, kind: "app", by: "flywheel" };
  const change = (state: string) => event(states[state] ?? "x.flywheel-change.moved", "chg_1", { ...of, state });
  const revised = (revision: number, by = "flywheel") => event("change.updated", "chg_1", { ...of, revision, by });
  const run = (type: string, state: string, more = {}) => event(type, "dpl_1", { state, environment: "prod", trigger: "change", kind: "release", ...more });
  const check = (name: string, state: string) => event("x.flywheel-check.finished", "chg_1", { ...of, check: { name, state, summary: "" } });
  expect(texts([
    event("change.created", "chg_1", { ...of, by: "dana" }), check("tests", "passed"), check("plan: prod", "held"), change("held"), revised(2, "dana"), change("checking"), check("tests", "passed"),
    change("merging"), change("merged"), run("pipelinerun.queued", "waiting"), run("pipelinerun.started", "running"), run("taskrun.finished", "succeeded", { step: "plan" }),
    run("service.upgraded", "succeeded"), change("deployed"),
  ])).toEqual(["dana: Opened", "tests passed", "plan: prod holds it", "Held for an operator", "dana: Revision 2", "tests passed", "Merged", "Deploying in prod", "Deployed in prod", "Deployed"]);
});

it("names the person of an approval and calls a merged pattern published", () => {
  expect(texts([
    event("change.reviewed", "chg_2", { discipline: "security", decision: "approved", name: "sam", reason: "" }),
    event("change.merged", "chg_2", { state: "merged", kind: "pattern", revision: 1, by: "flywheel" }),
  ])).toEqual(["sam: approved for security", "Published"]);
});

it("leaves out revisions in which only main had moved, and nothing new was found", () => {
  const round = (revision: number, why: string, by = "flywheel") => [
    event("change.updated", "chg_1", { revision, by }), event("x.flywheel-change.moved", "chg_1", { state: "blocked", revision, why, by: "flywheel" }),
  ];
  expect(texts([
    event("change.created", "chg_1", { revision: 1, by: "dana" }), event("x.flywheel-change.moved", "chg_1", { state: "blocked", revision: 1, why: "it conflicts", by: "flywheel" }),
    ...round(2, "it conflicts"), ...round(3, "it conflicts"), ...round(4, "it conflicts", "dana"), ...round(5, "something else"), ...round(6, "something else"),
  ])).toEqual(["dana: Opened", "Blocked", "dana: Revision 4", "Blocked", "Revision 5", "Blocked"]);
});

it("reads the history of before facts had types of their own", () => {
  const old = (state: string, revision: number) => event("change.updated", "chg_1", { state, revision, kind: "app", by: "flywheel" });
  expect(texts([event("change.created", "chg_1", { state: "checking", revision: 1, by: "dana" }), old("checking", 1), old("held", 1), old("held", 1), old("checking", 2), old("deployed", 2)]))
    .toEqual(["dana: Opened", "Held for an operator", "Revision 2", "Deployed"]);
});

it("shows as running only what runs now", () => {
  const run = (id: string, type: string, state: string) => event(type, id, { state, environment: "prod", trigger: "change", kind: "release" });
  expect(moments([run("dpl_1", "pipelinerun.started", "running"), run("dpl_1", "service.upgraded", "succeeded"), run("dpl_2", "pipelinerun.started", "running")]).map(({ state }) => state)).toEqual(["new", "succeeded", "running"]);
});
