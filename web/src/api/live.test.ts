import { describe, expect, it } from "vitest";
import { affects, parser } from "./live";

describe("parser", () => {
  const stream = "retry: 1000\n\nid: 6\n\n: alive\n\nid: 7\nevent: dev.cdevents.change.created\ndata: {\"a\":1}\n\ndata: x\r\ndata: y\r\n\r\n";
  it.each([1, 2, 3, 7, 1000])("reads the same events in pieces of %d characters", (size) => {
    const events: [string, string][] = [];
    const read = parser((id, data) => events.push([id, data]));
    for (let i = 0; i < stream.length; i += size) read(stream.slice(i, i + size));
    expect(events).toEqual([["6", ""], ["7", '{"a":1}'], ["", "x\ny"]]);
  });
});

describe("affects", () => {
  const deployed = { type: "dev.cdevents.service.deployed", subject: "dpl_1", app: "storefront" };
  it("reaches the deployment, its app, the lists and home", () => {
    for (const key of [["deployment", "dpl_1"], ["apps", "storefront"], ["apps"], ["deployments", {}], ["changes", {}], ["change", "chg_1"], ["home"]]) {
      expect(affects(deployed, key), key.join()).toBe(true);
    }
  });
  it("leaves alone what it is not about", () => {
    for (const key of [["deployment", "dpl_2"], ["apps", "billing"], ["stories"], ["patterns"], ["me"], ["diff", "chg_1", "abc"]]) {
      expect(affects(deployed, key), key.join()).toBe(false);
    }
  });
});
