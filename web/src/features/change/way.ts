// The way of a change from its lane to the last environment, for one glance: what is behind it, where it
// stands, and what comes.
import type { ChangeDetail } from "../../api/types";
import { plural } from "../../ui/text";

export interface Stage {
  name: string;
  state: string; // decides icon and colour
  note?: string;
}

/** Where no check can change any more what is shown. */
const merged = new Set(["merged", "deployed", "rolled_back"]);
const ended = new Set(["closed", "rejected", "refused", "failed", "blocked"]);

/** The stages of a change in their order. */
export function way({ change, checks, deployments, certification }: Pick<ChangeDetail, "change" | "checks" | "deployments" | "certification">): Stage[] {
  const through = merged.has(change.state);
  const others = checks.filter(({ name }) => name !== "lane");
  const worst = ["failed", "held", "running", "warning"].find((state) => others.some((check) => check.state === state));
  const done = others.filter(({ state }) => state !== "running").length;
  const stages: Stage[] = [
    { name: "Lane", state: change.lane ? "passed" : change.state === "refused" ? "refused" : change.state === "checking" ? "running" : "pending", note: change.lane },
    { name: "Checks", state: others.length === 0 ? (change.lane && change.state === "checking" ? "running" : "pending") : through && worst !== "failed" ? "passed" : worst ?? "passed", note: others.length === 0 ? undefined : worst === "running" ? `${done} of ${others.length}` : plural(others.length, "check") },
  ];
  if (certification) {
    const needed = Object.values(certification.needed).reduce((sum, n) => sum + n, 0);
    const valid = certification.approvals.filter(({ decision, lapsed }) => decision === "approved" && !lapsed).length;
    const no = certification.approvals.find(({ decision, digest }) => decision === "rejected" || (decision === "changes_requested" && digest === certification.digest));
    stages.push({ name: "Approvals", state: through ? "passed" : no ? no.decision : change.state === "review" ? "review" : "pending", note: `${Math.min(valid, needed)} of ${needed}` });
  }
  const waits: Record<string, string> = { ready: "ready", held: "held", waiting: "waiting", merging: "running" };
  stages.push({ name: change.kind === "pattern" ? "Publish" : "Merge", state: through ? "passed" : ended.has(change.state) ? change.state : waits[change.state] ?? "pending", note: ended.has(change.state) || change.state === "held" ? change.state : change.state === "waiting" ? (change.code === "change.outer_awaited" ? "waits for the outer CI" : "waits for a pattern") : undefined });
  if (change.kind !== "app" || ended.has(change.state)) return stages;
  const of = new Map(deployments.map((one) => [one.environment, one])); // the last one of each
  const places = [...new Set([...change.effects.map(({ environment }) => environment), ...of.keys()])];
  for (const place of places) {
    const one = of.get(place);
    const back = one?.trigger === "rollback"; // that it went back well is no good end of the change
    stages.push({ name: place, state: back && one.state === "succeeded" ? "rolled_back" : one?.state ?? "pending", note: back ? "rolled back" : undefined });
  }
  return stages;
}
