// What a plan says, in lines: pure, so that tests can tell what people would read.
import type { Plan, PlanAction, PlanEffect, ResourceChange } from "../api/types";
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

type Kind = PlanEffect["kind"];

/** What the plan does, the dangerous first. One that was stored before plans had effects has at least those of its resources. */
export function effects(plan: Plan): PlanEffect[] {
  const words: Partial<Record<PlanAction, Kind>> = { delete: "destroy", replace: "replace", forget: "forget", update: "update", create: "create" };
  return plan.effects ?? plan.changes.flatMap(({ address, action }) => { const kind = words[action]; return kind ? [{ kind, address }] : []; });
}

/** The resources that something happens to and what that is, the dangerous first. */
export function effective(plan: Plan): { change: ResourceChange; kinds: Kind[] }[] {
  const all = effects(plan).filter(({ kind }) => !["read", "output", "check"].includes(kind));
  const of = (change: ResourceChange) => (one: PlanEffect) => one.address === change.address && one.deposed === change.deposed;
  return plan.changes
    .map((change) => ({ change, kinds: all.filter(of(change)).map(({ kind }) => kind), place: all.findIndex(of(change)) }))
    .filter(({ kinds }) => kinds.length > 0)
    .sort((a, b) => a.place - b.place)
    .map(({ change, kinds }) => ({ change, kinds }));
}

/** How often the plan does what, in the order of danger. */
export function counts(plan: Plan): [Kind, number][] {
  const found = new Map<Kind, number>();
  for (const { kind } of effects(plan)) found.set(kind, (found.get(kind) ?? 0) + 1);
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
