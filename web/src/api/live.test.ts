import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as account from "../features/account/queries";
import * as app from "../features/app/queries";
import * as backlog from "../features/backlog/queries";
import * as change from "../features/change/queries";
import * as deploy from "../features/deploy/queries";
import * as home from "../features/home/queries";
import * as pattern from "../features/pattern/queries";
import { affects, nouns, parser, reader, type Key } from "./live";
import type { Topic } from "./types";

describe("parser", () => {
  const stream = 'retry: 1000\n\n: alive\n\nid: 7\nevent: x\ndata: {"a":1}\n\ndata: x\r\ndata: y\r\n\r\n';
  it.each([1, 2, 3, 7, 1000])("reads the same events in pieces of %d characters", (size) => {
    const events: string[] = [];
    const read = parser((data) => events.push(data));
    for (let i = 0; i < stream.length; i += size) read(stream.slice(i, i + size));
    expect(events).toEqual(['{"a":1}', "x\ny"]);
  });
});

/** The key of every query that the pages have; each is of the thing, the app and so on that is called x. */
function keys(): Key[] {
  const all = Object.values({ ...account, ...app, ...backlog, ...change, ...deploy, ...home, ...pattern } as Record<string, unknown>);
  return all.flatMap((one) => {
    const options = typeof one === "function" && one.toString().includes("queryKey") ? (one as (...args: string[]) => unknown)("x", "x", "x", "x") : one;
    const key = (options as { queryKey?: Key } | null)?.queryKey;
    return key ? [key] : [];
  });
}

describe("affects", () => {
  const deployed: Topic = { noun: "deployment", id: "dpl_1", app: "storefront", change: "chg_1" };

  it("reaches the thing, the lists that may hold it, what it is a part of, and home", () => {
    const reached: Key[] = [["deployment", "dpl_1"], ["deployment", { app: "storefront" }, 5], ["deployment", {}, 100], ["deployment", { state: "held" }, 100], ["change", "chg_1"], ["change", "chg_1", "events", ["chg_1"]], ["home"]];
    for (const key of reached) expect(affects(deployed, key), key.join()).toBe(true);
  });

  it("leaves alone what it is not about", () => {
    const left: Key[] = [["deployment", "dpl_2"], ["deployment", { app: "billing" }, 5], ["deployment", { change: "chg_2" }, 5], ["change", "chg_2"], ["change", {}, 100], ["app", "storefront"], ["app"], ["story"], ["pattern"], ["audit", {}], ["me"], ["diff", "chg_1", "abc"]];
    for (const key of left) expect(affects(deployed, key), key.join()).toBe(false);
  });

  it("reaches everything of a noun when the topic names none", () => {
    const all: Topic = { noun: "change", app: "storefront" };
    expect(affects(all, ["change", "chg_1"])).toBe(true);
    expect(affects(all, ["change", { subject: "storefront" }, 10])).toBe(true);
    expect(affects(all, ["change", { subject: "billing" }, 10])).toBe(false);
  });

  it("reads the page of a deployment again for its step, and not the lists", () => {
    const step: Topic = { noun: "step", app: "storefront", change: "chg_1", deployment: "dpl_1" };
    for (const key of [["deployment", "dpl_1"], ["change", "chg_1"]] as Key[]) expect(affects(step, key), key.join()).toBe(true);
    for (const key of [["deployment", {}, 100], ["change", {}, 100], ["change", "chg_1", "events", ["chg_1"]], ["home"], ["deployment", "dpl_2"]] as Key[]) expect(affects(step, key), key.join()).toBe(false);
  });

  it("has a query for every noun, and a noun for every query that may change", () => {
    const all = keys();
    expect(all.length).toBeGreaterThan(25);
    for (const noun of nouns) {
      const topic: Topic = { noun, id: "x", app: "x", change: "x", deployment: "x" };
      expect(all.some((key) => affects(topic, key)), noun).toBe(true);
    }
    for (const key of all) {
      if (["detail", "diff", "effect", "effects"].includes(key[0])) continue; // never differs under its key
      expect(nouns.some((noun) => affects({ noun }, key)), key.join()).toBe(true);
    }
  });
});

describe("reader", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** A query on screen whose answers take some time, and how often it was asked. */
  async function watched(client: QueryClient, queryKey: Key, takes = 0) {
    const asked = vi.fn(() => new Promise((resolve) => setTimeout(() => resolve(asked.mock.calls.length), takes)));
    const stop = new QueryObserver(client, { queryKey, queryFn: asked }).subscribe(() => undefined);
    await vi.advanceTimersByTimeAsync(takes);
    return { asked, stop, query: client.getQueryCache().find({ queryKey })! };
  }

  it("reads home at most every two seconds, and once more for what came meanwhile", async () => {
    const client = new QueryClient();
    const { asked, query, stop } = await watched(client, ["home"]);
    const look = reader(client);
    for (let i = 0; i < 40; i++) {
      look([query]);
      await vi.advanceTimersByTimeAsync(100);
    }
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked.mock.calls.length).toBeGreaterThanOrEqual(3);
    expect(asked.mock.calls.length).toBeLessThanOrEqual(4);
    stop();
  });

  it("asks again when an answer was on its way, which may be older than the topic", async () => {
    const client = new QueryClient();
    const { asked, query, stop } = await watched(client, ["change", "chg_1"], 500);
    const look = reader(client);
    look([query]);
    await vi.advanceTimersByTimeAsync(100); // the second answer is on its way
    look([query]);
    await vi.advanceTimersByTimeAsync(100);
    expect(asked.mock.calls.length).toBe(2); // not both at once
    await vi.advanceTimersByTimeAsync(2000);
    expect(asked.mock.calls.length).toBe(3);
    stop();
  });

  it("only marks as old what is not on screen", async () => {
    const client = new QueryClient();
    const { asked, query, stop } = await watched(client, ["change", "chg_1"]);
    stop();
    reader(client)([query]);
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked.mock.calls.length).toBe(1);
    expect(query.isStale()).toBe(true);
  });
});
