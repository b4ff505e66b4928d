// Pure words: times, durations, ids and values as pages show them.
import { Exact } from "../api/exact";

const units: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 63_072_000], ["day", 86_400], ["hour", 3600], ["minute", 60],
];

/** "3 min ago", "in 2 hr"; "just now" within ten seconds. */
export function relative(at: Date, now: Date, locale?: string): string {
  const seconds = Math.round((at.getTime() - now.getTime()) / 1000);
  const far = Math.abs(seconds);
  if (far < 10) return "just now";
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "always", style: "short" });
  for (const [unit, size] of units) {
    if (far >= size) return format.format(Math.trunc(seconds / (unit === "year" ? 31_536_000 : size)), unit);
  }
  return format.format(seconds, "second");
}

/** "340 ms", "4.2 s", "3 min 5 s", "2 h 10 min". */
export function duration(milliseconds: number, locale?: string): string {
  const number = (value: number, digits = 0) => new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value);
  if (milliseconds < 0) milliseconds = 0;
  if (milliseconds < 1000) return `${number(Math.round(milliseconds))} ms`;
  if (milliseconds < 59_950) return `${number(milliseconds / 1000, 1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 3600) return seconds % 60 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : `${seconds / 60} min`;
  const minutes = Math.round(seconds / 60);
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

/** An id or digest short enough for a line, still telling: "sha256:1f2e3d4c5b6a", "a1b2c3d4e5". */
export function short(id: string): string {
  const digest = /^(sha256:)([0-9a-f]{12})[0-9a-f]+$/.exec(id);
  if (digest) return `${digest[2]}`;
  if (/^[0-9a-f]{40,64}$/.test(id)) return id.slice(0, 10);
  return id;
}

/** A value of a variable or a plan, on one line where it fits. */
export function show(value: unknown): string {
  if (value === undefined || value === null) return "—";
  if (typeof value === "string") return value === "" ? '""' : value;
  return value instanceof Exact ? value.text : JSON.stringify(value);
}

/** "1 app", "3 apps", "1,200 apps". */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${new Intl.NumberFormat().format(count)} ${count === 1 ? one : many}`;
}

/** Title case of a state: "rolled_back" is "Rolled back". */
export function word(state: string): string {
  const text = state.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The first letter large and a full stop at the end, for sentences that the API begins small. A name
 *  at the beginning ("prod.instances", "prod:") stays as it is. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  if (!trimmed) return "";
  const begun = /^[a-z][a-z']*( |$)/.test(trimmed) ? trimmed.charAt(0).toUpperCase() + trimmed.slice(1) : trimmed;
  return /([.!?`:]|[.!?]\))$/.test(begun) ? begun : `${begun}.`;
}

/** The words of a commit message without the trailers that the page shows in their places. */
export function prose(body = ""): string {
  return body.replace(/(^|\n)((Story|Needs|Fixes|Reverts|Change): .*(\n|$))+\s*$/, "").trim();
}

/** How well text answers a query, 0 for not at all: all letters in order, better at beginnings. */
export function match(query: string, text: string): number {
  const q = query.toLowerCase().trim();
  const t = text.toLowerCase();
  if (!q) return 1;
  const at = t.indexOf(q);
  if (at === 0) return 100;
  if (at > 0) return /[^a-z0-9]/.test(t.charAt(at - 1)) ? 80 : 60;
  const words = q.split(/\s+/);
  if (words.length > 1 && words.every((one) => t.includes(one))) return 50;
  let from = 0;
  for (const letter of q) {
    from = t.indexOf(letter, from) + 1;
    if (from === 0) return 0;
  }
  return q.length > 2 ? 10 : 0;
}
