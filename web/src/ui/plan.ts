// What a plan says, in lines: pure, so that tests can tell what people would read.
import type { Plan, PlanAction, ResourceChange } from "../api/types";
import { show } from "./text";

export interface Line {
  name: string;
  before?: string;
  after?: string;
  forces: boolean; // the replacement
}

/** Whether something that came with a check or a deployment is a plan. */
export function asPlan(detail: unknown): Plan | undefined {
  if (typeof detail !== "object" || detail === null) return undefined;
  if (Array.isArray(detail)) return detail.every((one) => typeof one === "object" && one !== null && "address" in one) && detail.length > 0 ? { changes: detail as ResourceChange[] } : undefined;
  return "changes" in detail && Array.isArray(detail.changes) ? (detail as Plan) : undefined;
}

/** The resources that something happens to, the dangerous first. */
export function effective(plan: Plan): ResourceChange[] {
  const order: PlanAction[] = ["delete", "replace", "forget", "update", "create"];
  return plan.changes
    .filter((change) => order.includes(change.action) || change.previous)
    .sort((a, b) => order.indexOf(a.action) - order.indexOf(b.action) || a.address.localeCompare(b.address));
}

/** How many resources each action happens to, in the order of their danger. */
export function counts(plan: Plan): [PlanAction, number][] {
  const found = new Map<PlanAction, number>();
  for (const { action } of effective(plan)) found.set(action, (found.get(action) ?? 0) + 1);
  return [...found];
}

/** The attributes that differ, flattened: "env.PORT", "command[1]". */
export function lines(change: ResourceChange): Line[] {
  const before = new Map<string, string>();
  const after = new Map<string, string>();
  flatten(change.before, "", before);
  flatten(change.after, "", after);
  const names = [...new Set([...before.keys(), ...after.keys()])];
  return names
    .filter((name) => before.get(name) !== after.get(name))
    .map((name) => ({
      name, before: before.get(name), after: after.get(name),
      forces: change.replace_paths?.some((path) => name === path || name.startsWith(`${path}.`) || name.startsWith(`${path}[`)) ?? false,
    }))
    .sort((a, b) => Number(b.forces) - Number(a.forces));
}

function flatten(value: unknown, path: string, into: Map<string, string>) {
  if (value === null || value === undefined) return;
  if (Array.isArray(value) && value.some((one) => typeof one === "object" && one !== null)) {
    value.forEach((one, i) => flatten(one, `${path}[${i}]`, into));
  } else if (typeof value === "object" && !Array.isArray(value)) {
    for (const [key, one] of Object.entries(value)) flatten(one, path ? `${path}.${key}` : key, into);
  } else if (path) {
    into.set(path, show(value));
  }
}
