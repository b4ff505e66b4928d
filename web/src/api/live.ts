// Live updates: one stream of events, which says what to fetch again. Pages never read the events'
// data as their own truth; the API is.
import type { QueryClient, QueryKey } from "@tanstack/react-query";
import { session } from "./session";
import type { LiveEvent } from "./types";

export type Connection = "connecting" | "live" | "reconnecting";

/** Whether what a query shows may have changed with the event. A query's key begins with the noun it
 *  shows; a key with a name or id after the noun shows one thing, a key without shows a list. */
export function affects(event: LiveEvent, key: QueryKey): boolean {
  const [noun, name] = key;
  const subject = event.subject ?? "";
  const about = [subject, event.app].filter(Boolean);
  switch (noun) {
    case "home":
      return true;
    case "events":
      return (name as string[]).includes(subject);
    case "apps":
      return name === undefined || typeof name === "object" || about.includes(name as string);
    case "change": // its deployments and what it waits for are other subjects
    case "changes":
      return /change|check|certif|approv|deploy|pipeline|taskrun|service|pattern|build|test/.test(event.type) || /^(chg|dpl)_/.test(subject);
    case "deployment":
      return about.includes(name as string);
    case "deployments":
      return /deploy|pipeline|taskrun|service/.test(event.type) || subject.startsWith("dpl_");
    case "patterns":
      return /pattern|certif|change/.test(event.type);
    case "waivers":
      return event.type.includes("flywheel-waiver");
    case "environments":
      return event.type.includes("environment");
    case "me": // what I may do follows from them
    case "users":
    case "teams":
      return /flywheel-(user|team)/.test(event.type);
    case "tokens":
      return /flywheel-(token|user)/.test(event.type);
    case "requests":
      return event.type.includes("patternrequest");
    case "audit": // what is decided is told as well
      return true;
    case "stories":
      return /story|ticket/.test(event.type) || subject.startsWith("sty_");
  }
  return false;
}

/** Follows the events of the server until the returned function is called. It is not an EventSource,
 *  because that needs the name of every event it is to hear; like one, it reconnects and continues
 *  after the last event it saw. */
export function follow(client: QueryClient, report: (connection: Connection) => void): () => void {
  const stop = new AbortController();
  let pending: LiveEvent[] = [];
  let flush: ReturnType<typeof setTimeout> | undefined;
  const take = (data: string) => {
    if (!data) return; // a position without an event
    pending.push(JSON.parse(data) as LiveEvent);
    // Many events come with one transaction, and one fetch answers them all.
    flush ??= setTimeout(() => {
      const events = pending;
      pending = [];
      flush = undefined;
      void client.invalidateQueries({ predicate: (query) => events.some((event) => affects(event, query.queryKey)) });
    }, 100);
  };
  void (async () => {
    let last = "";
    report("connecting");
    for (let failures = 0; !stop.signal.aborted; failures++) {
      try {
        const answer = await fetch("/api/v1/events/stream", { headers: last ? { "Last-Event-ID": last } : {}, signal: stop.signal });
        if (answer.status === 401) {
          if (!(await session.again())) return;
          continue;
        }
        if (answer.ok && answer.body) {
          report("live");
          if (!last) void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "me" }); // what happened before is not told
          failures = 0;
          const read = parser((id, data) => {
            if (id) last = id;
            take(data);
          });
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
  return () => {
    stop.abort();
    clearTimeout(flush);
  };
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

/** Returns a function that takes the stream in pieces of any size and calls back for each event. */
export function parser(event: (id: string, data: string) => void): (text: string) => void {
  let rest = "";
  let id = "";
  let data: string[] = [];
  return (text) => {
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (id || data.length) event(id, data.join("\n"));
        id = "";
        data = [];
        continue;
      }
      const [, field, value = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
      if (field === "id") id = value;
      else if (field === "data") data.push(value);
    }
  };
}
