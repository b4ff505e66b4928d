import { expect, it } from "vitest";
import { moments } from "./timeline";

let n = 0;
const event = (type: string, subject: string, data: object) => ({ id: `evt_${++n}`, time: "2026-01-01T00:00:00Z", type: `dev.cdevents.${type}`, subject, data });
const texts = (events: ReturnType<typeof event>[]) => moments(events).map(({ by, text }) => (by ? `${by}: ${text}` : text));

it("says what happened once, and who did it", () => {
  const change = (type: string, state: string, more = {}) => event(`change.${type}`, "chg_1", { state, revision: 1, kind: "app", by: "flywheel", ...more });
  const run = (state: string, more = {}) => event("pipelinerun.started", "dpl_1", { state, environment: "prod", trigger: "change", kind: "release", step: "", ...more });
  const check = (name: string, state: string) => ({ ...change("x", "checking", { check: { name, state, summary: "" } }), type: "dev.cdeventsx.flywheel-change.checked" });
  expect(texts([
    change("created", "checking", { by: "dana" }), change("updated", "checking"), check("tests", "running"), check("tests", "passed"), check("plan: prod", "held"),
    change("updated", "held"), change("updated", "held"), change("updated", "checking", { revision: 2, by: "dana" }), check("tests", "passed"), change("merged", "merged"),
    run("waiting"), run("running"), run("running", { step: "plan" }), run("running"), run("succeeded"), change("updated", "deployed"),
  ])).toEqual(["dana: Opened", "tests passed", "plan: prod holds it", "Held for an operator", "dana: Revision 2", "tests passed", "Merged", "Deploying in prod", "Deployed in prod", "Deployed"]);
});

it("names the person of an approval and calls a merged pattern published", () => {
  expect(texts([
    { ...event("x", "chg_2", { discipline: "security", decision: "approved", name: "sam", reason: "" }), type: "dev.cdeventsx.flywheel-change.approved" },
    event("change.merged", "chg_2", { state: "merged", kind: "pattern", revision: 1 }),
  ])).toEqual(["sam: approved for security", "Published"]);
});

it("leaves out revisions in which only main had moved, and nothing new was found", () => {
  const round = (revision: number, why: string, by = "flywheel") => [
    event("change.updated", "chg_1", { state: "checking", revision, by }), event("change.updated", "chg_1", { state: "blocked", revision, why, by: "flywheel" }),
  ];
  expect(texts([
    event("change.created", "chg_1", { state: "checking", revision: 1, by: "dana" }), event("change.updated", "chg_1", { state: "blocked", revision: 1, why: "it conflicts" }),
    ...round(2, "it conflicts"), ...round(3, "it conflicts"), ...round(4, "it conflicts", "dana"), ...round(5, "something else"), ...round(6, "something else"),
  ])).toEqual(["dana: Opened", "Blocked", "dana: Revision 4", "Blocked", "Revision 5", "Blocked"]);
});

it("shows as running only what runs now", () => {
  const run = (id: string, state: string) => event("pipelinerun.started", id, { state, environment: "prod", trigger: "change", kind: "release", step: "" });
  expect(moments([run("dpl_1", "running"), run("dpl_1", "succeeded"), run("dpl_2", "running")]).map(({ state }) => state)).toEqual(["new", "succeeded", "running"]);
});
