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
