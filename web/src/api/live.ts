// Live updates: one stream of topics, which say what to read again. They never say what is there now; the API does.
import type { Query, QueryClient } from "@tanstack/react-query";
import { session } from "./session";
import type { News, Noun, Topic } from "./types";

export type Connection = "connecting" | "live" | "reconnecting";

/** What a query may be of that no topic tells of: it never differs under its key, or it is asked for by hand. */
type Still = "detail" | "diff" | "effect" | "effects" | "openapi" | "preview" | "validate";

/** The key of a query: the noun that it shows, then the id or name of the one it shows, or nothing or a filter for a
 *  list. "home" and "me" are made of several nouns. */
export type Key = readonly [Noun | "home" | "me" | Still, ...unknown[]];

declare module "@tanstack/react-query" {
  interface Register {
    queryKey: Key;
  }
}

/** Where a thing is shown besides the pages of its own noun: with the one it is a part of, or with all of some. */
const shown: Record<Noun, { partOf?: readonly ("app" | "change" | "deployment")[]; within?: readonly (Noun | "home" | "me")[] }> = {
  app: {},
  audit: {},
  change: { within: ["home"] },
  check: { partOf: ["change"] },
  deployment: { partOf: ["change"], within: ["home"] },
  environment: { within: ["app"] }, // an app's forms and the places it runs in
  pattern: { within: ["app"] }, // whether there is a newer version
  request: { partOf: ["change"], within: ["home"] },
  secret: {},
  session: {},
  setting: {},
  step: { partOf: ["deployment", "change"] },
  story: {},
  team: { within: ["me", "user"] }, // what I may do follows from it
  token: {},
  user: { within: ["me", "team"] },
  version: { within: ["pattern"] },
  waiver: { partOf: ["app"], within: ["home"] },
};

export const nouns = Object.keys(shown) as Noun[];

/** Whether what a query shows may have changed with the topic. */
export function affects(topic: Topic, key: Key): boolean {
  const [noun, what, part] = key;
  if (noun === topic.noun) return owns(topic, what);
  if (topic.noun === "step" && part === "events") return false; // a timeline shows no steps
  const { partOf = [], within = [] } = shown[topic.noun];
  return within.some((one) => one === noun) || partOf.some((one) => one === noun && topic[one] !== undefined && topic[one] === what);
}

/** Whether a query of the topic's own noun shows it: the one thing, or a list whose filter lets it through as far as
 *  the topic says. */
function owns(topic: Topic, what: unknown): boolean {
  if (typeof what === "string") return topic.id === undefined || topic.id === what;
  const about: Record<string, string | undefined> = { app: topic.app, subject: topic.app, change: topic.change };
  return !Object.entries(what ?? {}).some(([field, value]) => value !== undefined && about[field] !== undefined && about[field] !== value);
}

/** How long after one read the same query is read again at the earliest, in milliseconds. The server sends topics at a
 *  pace that suits one thing; lists and what is made of many things cost more. */
function pace([noun, what, part]: Key): number {
  if (noun === "home" || noun === "audit") return 2000;
  return typeof what === "string" && part !== "events" ? 0 : 1000;
}

/** Returns a function that has queries read again: those on screen soon, each at its pace and never twice at once;
 *  those that are not are read when they next come on screen. */
export function reader(client: QueryClient): (queries: Query[]) => void {
  const last = new WeakMap<Query, number>();
  const waiting = new WeakSet<Query>();
  const read = async (query: Query) => {
    // What is on its way may have been answered before the topic.
    await query.promise?.catch(() => undefined);
    waiting.delete(query);
    last.set(query, Date.now());
    await client.refetchQueries({ predicate: (one) => one === query, type: "active" }, { cancelRefetch: false });
  };
  return (queries) => {
    for (const query of queries) {
      query.invalidate();
      if (!query.isActive() || waiting.has(query)) continue;
      waiting.add(query);
      setTimeout(() => void read(query), Math.max(0, (last.get(query) ?? 0) + pace(query.queryKey) - Date.now()));
    }
  };
}

/** Follows the topics of the server until the returned function is called. It is not an EventSource, because that
 *  does not say why it was refused. Whenever a connection begins, everything is read again: what happened before is
 *  not told. */
export function follow(client: QueryClient, report: (connection: Connection) => void): () => void {
  const stop = new AbortController();
  const look = reader(client);
  let first = true;
  const take = (data: string) => {
    const { again, topics } = JSON.parse(data) as News;
    const all = again || topics.some(({ noun }) => !nouns.includes(noun)); // of a server newer than this page
    // Who I am was read a moment ago when the page was opened.
    look(client.getQueryCache().findAll({ predicate: ({ queryKey }) => (all ? !(first && queryKey[0] === "me") : topics.some((topic) => affects(topic, queryKey))) }));
    first = false;
  };
  void (async () => {
    report("connecting");
    for (let failures = 0; !stop.signal.aborted; failures++) {
      try {
        const answer = await fetch("/api/v1/live", { signal: stop.signal });
        if (answer.status === 401) {
          if (!(await session.again())) return;
          continue;
        }
        if (answer.ok && answer.body) {
          report("live");
          failures = 0;
          const read = parser((data) => take(data));
          const alive = watchdog(25_000, () => reader.cancel());
          const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
          for (let part = await reader.read(); !part.done; part = await reader.read()) {
            alive.reset();
            read(part.value);
          }
          alive.stop();
        }
      } catch {
        // The connection is gone; the next round opens another.
      }
      if (stop.signal.aborted) return;
      report("reconnecting");
      await new Promise((resolve) => setTimeout(resolve, Math.min(500 * 2 ** failures, 8000)));
    }
  })();
  return () => stop.abort();
}

/** Calls late when reset was not called for so long: the server shows every 10 s that it lives. */
function watchdog(milliseconds: number, late: () => void) {
  let timer = setTimeout(late, milliseconds);
  return {
    reset() {
      clearTimeout(timer);
      timer = setTimeout(late, milliseconds);
    },
    stop: () => clearTimeout(timer),
  };
}

/** Returns a function that takes the stream in pieces of any size and calls back with the data of each event. */
export function parser(event: (data: string) => void): (text: string) => void {
  let rest = "";
  let data: string[] = [];
  return (text) => {
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (data.length) event(data.join("\n"));
        data = [];
        continue;
      }
      const [, field, value = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
      if (field === "data") data.push(value);
    }
  };
}
