// What happened to a change, as the event log tells it: one line for each event that says something new.
import type { Facts } from "../../api/types";

export interface Moment {
  id: string;
  at: string;
  state: string; // decides icon and colour
  text: string;
  by?: string; // a person; the platform itself is not named
  note?: string;
  strong?: boolean;
}

interface Told {
  id: string;
  time: string;
  type: string;
  subject?: string;
  data?: unknown;
}

/** Returns the data of an event that is of one of these types. */
function told<T extends keyof Facts>(event: Told, ...types: T[]): Facts[T] | undefined {
  return (types as string[]).includes(event.type) ? (event.data as Facts[T]) : undefined;
}

/** Returns what an event says of the state of a change. Before facts had types of their own, every new state was an update. */
function moved(event: Told) {
  const data = told(event, "dev.cdeventsx.flywheel-change.moved", "dev.cdevents.change.merged", "dev.cdevents.change.abandoned", "dev.cdeventsx.flywheel-change.deployed", "dev.cdeventsx.flywheel-change.rolledback", "dev.cdeventsx.flywheel-change.restored");
  const old = told(event, "dev.cdevents.change.updated") as Facts["dev.cdeventsx.flywheel-change.moved"] | undefined;
  return data ?? (old?.state ? old : undefined);
}

/** Returns what an event says of the state of a deployment. */
function ran(event: Told) {
  return told(event, "dev.cdevents.pipelinerun.started", "dev.cdevents.pipelinerun.finished", "dev.cdevents.service.deployed", "dev.cdevents.service.upgraded", "dev.cdevents.service.rolledback", "dev.cdevents.service.removed",
    "dev.cdeventsx.flywheel-deployment.held", "dev.cdeventsx.flywheel-deployment.released", "dev.cdeventsx.flywheel-deployment.cancelling", "dev.cdeventsx.flywheel-deployment.cancelled", "dev.cdeventsx.flywheel-deployment.superseded");
}

/** The moments of events in their order. */
export function moments(events: Told[]): Moment[] {
  const list: Moment[] = [];
  const last = new Map<string, string>(); // what was said last of each subject or check
  const running = new Map<string, Moment>(); // of a deployment; it does not run any more once something else is said of it
  const rounds = [0]; // where each revision begins in the list
  let revision = 1;
  for (const event of events) {
    const say = (about: string, part: Omit<Moment, "id" | "at">) => {
      const said = `${part.state} ${part.text}`;
      if (last.get(about) === said) return;
      last.set(about, said);
      const moment = { id: event.id, at: event.time, ...part };
      list.push(moment);
      const before = running.get(about);
      if (before) before.state = "new";
      if (part.state === "running") running.set(about, moment);
    };
    const subject = event.subject ?? "";
    const opened = told(event, "dev.cdevents.change.created");
    if (opened) say(subject, { state: "new", text: "Opened", by: person(opened.by) });
    const check = told(event, "dev.cdeventsx.flywheel-check.finished")?.check;
    if (check) say(check.name, { state: check.state, text: `${check.name} ${checked[check.state] ?? check.state}`, note: check.state === "passed" ? undefined : check.summary });
    const review = told(event, "dev.cdevents.change.reviewed");
    if (review) say(`${subject} ${review.discipline} ${review.name}`, { state: review.decision, text: `${review.decision.replaceAll("_", " ")} for ${review.discipline}`, by: review.name, note: review.reason || undefined });
    const revised = told(event, "dev.cdevents.change.updated");
    if (revised && revised.revision > revision) {
      revision = revised.revision;
      list.push({ id: `${event.id} revision`, at: event.time, state: "new", text: `Revision ${revision}`, by: person(revised.by) });
      rounds.push(list.length - 1);
      last.clear();
    }
    const change = moved(event);
    if (change && change.state !== "checking" && change.state !== "merging") {
      const state = change.kind === "pattern" && change.state === "merged" ? "published" : change.state;
      say(subject, { state, text: changed[state] ?? state, by: person(change.by), note: ends.has(state) ? change.why : undefined, strong: ends.has(state) });
    }
    const run = ran(event);
    if (run) {
      const doing = run.trigger === "rollback" ? "Rolling back" : run.trigger === "redeploy" ? "Redeploying" : "Deploying";
      const words: Record<string, string> = {
        running: `${doing} in ${run.environment}`, held: `Held in ${run.environment}`,
        succeeded: `${run.trigger === "rollback" ? "Rolled back" : run.kind === "destroy" ? "Removed" : "Deployed"} in ${run.environment}`,
      };
      const asked = run.state === "running" || run.state === "cancelling" || run.state === "cancelled";
      say(subject, { state: run.state, text: words[run.state] ?? `${run.state.charAt(0).toUpperCase()}${run.state.slice(1)} in ${run.environment}`, by: asked ? person(run.by) : undefined });
    }
  }
  return withoutRepetition(list, rounds);
}

/** Leaves out the revisions that nobody asked for and that said what the one before said: main has moved, and that is all. */
function withoutRepetition(list: Moment[], rounds: number[]): Moment[] {
  let before = "";
  return rounds.flatMap((start, i) => {
    const round = list.slice(start, rounds[i + 1]);
    const said = JSON.stringify(round.slice(1).map(({ state, text, by, note }) => [state, text, by, note]));
    const again = i > 0 && !round[0]?.by && said === before;
    before = said;
    return again ? [] : round;
  });
}

/** Returns who did it; the platform itself is not named. */
const person = (by: string) => (by === "flywheel" ? undefined : by || undefined);

const checked: Record<string, string> = { passed: "passed", failed: "failed", held: "holds it", warning: "warns" };
const changed: Record<string, string> = {
  review: "Waits for approvals", waiting: "Waits", held: "Held for an operator", ready: "Ready to merge", refused: "Refused", failed: "Failed", blocked: "Blocked",
  merged: "Merged", published: "Published", deployed: "Deployed", rolled_back: "Rolled back", closed: "Closed", rejected: "Rejected",
};
const ends = new Set(["refused", "failed", "blocked", "deployed", "published", "rolled_back", "closed", "rejected"]);
