// What happened to a change, as the event log tells it: one line for each event that says something new.
import type { LoggedEvent } from "../../api/types";

export interface Moment {
  id: string;
  at: string;
  state: string; // decides icon and colour
  text: string;
  by?: string; // a person; the platform itself is not named
  note?: string;
  strong?: boolean;
}

type Told = LoggedEvent & { id: string; time: string; data?: unknown };
interface Data {
  by?: string;
  state?: string;
  revision?: number;
  why?: string;
  kind?: string;
  check?: { name: string; state: string; summary: string };
  name?: string;
  discipline?: string;
  decision?: string;
  reason?: string;
  environment?: string;
  trigger?: string;
  step?: string;
}

/** The moments of events in their order. */
export function moments(events: Told[]): Moment[] {
  const list: Moment[] = [];
  const last = new Map<string, string>(); // what was said last of each subject or check
  const running = new Map<string, Moment>(); // of a deployment; it does not run any more once something else is said of it
  const rounds = [0]; // where each revision begins in the list
  let revision = 1;
  for (const event of events) {
    const data = (event.data ?? {}) as Data;
    const by = data.by && data.by !== "flywheel" ? data.by : undefined;
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
    if (event.type.endsWith(".change.created")) say(subject, { state: "new", text: "Opened", by });
    else if (event.type.endsWith("flywheel-change.checked")) {
      if (data.check && data.check.state !== "running") say(data.check.name, { state: data.check.state, text: `${data.check.name} ${checked[data.check.state] ?? data.check.state}`, note: data.check.state === "passed" ? undefined : data.check.summary });
    } else if (data.discipline && data.decision) {
      say(`${subject} ${data.discipline} ${data.name}`, { state: data.decision, text: `${data.decision.replaceAll("_", " ")} for ${data.discipline}`, by: data.name, note: data.reason || undefined });
    } else if (/\.change\.(updated|merged|abandoned)$/.test(event.type) && data.state) {
      if (data.revision !== undefined && data.revision > revision) {
        revision = data.revision;
        list.push({ id: `${event.id} revision`, at: event.time, state: "new", text: `Revision ${revision}`, by });
        rounds.push(list.length - 1);
        last.clear();
      }
      if (data.state === "checking" || data.state === "merging") continue;
      const state = data.kind === "pattern" && data.state === "merged" ? "published" : data.state;
      say(subject, { state, text: changed[state] ?? state, by, note: ends.has(state) ? data.why : undefined, strong: ends.has(state) });
    } else if (subject.startsWith("dpl_") && data.environment && !data.step && data.state && data.state !== "waiting") {
      const doing = data.trigger === "rollback" ? "Rolling back" : data.trigger === "redeploy" ? "Redeploying" : "Deploying";
      const words: Record<string, string> = { running: `${doing} in ${data.environment}`, held: `Held in ${data.environment}`, succeeded: `${data.trigger === "rollback" ? "Rolled back" : data.kind === "destroy" ? "Removed" : "Deployed"} in ${data.environment}` };
      say(subject, { state: data.state, text: words[data.state] ?? `${data.state.charAt(0).toUpperCase()}${data.state.slice(1)} in ${data.environment}`, by: data.state === "running" || data.state === "cancelled" ? by : undefined });
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

const checked: Record<string, string> = { passed: "passed", failed: "failed", held: "holds it", warning: "warns" };
const changed: Record<string, string> = {
  review: "Waits for approvals", waiting: "Waits", held: "Held for an operator", ready: "Ready to merge", refused: "Refused", failed: "Failed", blocked: "Blocked",
  merged: "Merged", published: "Published", deployed: "Deployed", rolled_back: "Rolled back", closed: "Closed", rejected: "Rejected",
};
const ends = new Set(["refused", "failed", "blocked", "deployed", "published", "rolled_back", "closed", "rejected"]);
