import { describe, expect, it } from "vitest";
import committed from "../../../../openapi.json";
import { example, fields, fits, nouns, operations, typeOf, type Description } from "./reference";

const api: Description = {
  paths: {
    "/api/v1/apps": {
      get: { operationId: "list-apps", summary: "List apps", parameters: [{ name: "limit", in: "query", schema: { type: "integer", minimum: 1, maximum: 200, default: 50, description: "At most this many items" } }], responses: { 200: { description: "OK", content: { "application/json": { schema: { $ref: "#/components/schemas/Page" } } } } } },
      post: { operationId: "create-app", summary: "Create an app", requestBody: { content: { "application/json": { schema: { $ref: "#/components/schemas/Create" } } } }, responses: { 201: { description: "Created" } } },
    },
    "/api/v1/apps/{app}/log": { get: { operationId: "log", summary: "Its log", parameters: [{ name: "app", in: "path", required: true, schema: { type: "string" } }, { name: "since", in: "query", required: true, schema: { type: "string" } }], responses: { 200: { description: "OK" } } } },
    "/api/v1/session": { post: { operationId: "sign-in", summary: "Sign in", security: [{}], requestBody: { content: { "application/json": { schema: { type: "object", properties: { name: { type: "string", examples: ["o'hara"] } }, required: ["name"] } } } }, responses: { 200: { description: "OK" } } } },
  },
  components: {
    schemas: {
      Page: { type: "object", properties: { items: { type: ["array", "null"], items: { $ref: "#/components/schemas/App" } }, next: { type: "string" } } },
      App: { type: "object", required: ["name"], properties: { name: { type: "string" }, parent: { $ref: "#/components/schemas/App" }, instances: { type: "object", additionalProperties: { type: "object", properties: { state: { type: "string", enum: ["healthy", "degraded"] } } } } } },
      Create: { type: "object", required: ["name", "at"], properties: { name: { type: "string", maxLength: 40 }, at: { type: "string", format: "date-time" }, title: { type: "string" } } },
    },
  },
};
const all = operations(api, "http://flywheel");
const of = (id: string) => all.find((operation) => operation.id === id)!;

it("groups operations by noun", () => {
  expect(nouns(all).map(([noun, list]) => [noun, list.length])).toEqual([["apps", 3], ["session", 1]]);
  expect(fits(of("create-app"), "post APPS")).toBe(true);
  expect(fits(of("create-app"), "get")).toBe(false);
});

it("opens lists, maps and types of types, and a type inside of itself once", () => {
  expect(of("list-apps").answer.fields.map(({ name }) => name)).toEqual([
    "items", "items[].name", "items[].parent", "items[].instances", "items[].instances.*.state", "next",
  ]);
  expect(typeOf(api, api.components.schemas.Page!.properties!.items!)).toBe("object[]");
  expect(fields(api, { $ref: "#/components/schemas/Create" }).map(({ name, type, required, text }) => [name, type, required, text])).toEqual([
    ["name", "string", true, "At most 40 characters"], ["at", "string (date-time)", true, ""], ["title", "string", false, ""],
  ]);
  expect(of("list-apps").parameters[0]!.text).toBe("At most this many items. 1 to 200. 50 if left out");
});

it("writes a line for the terminal with what an operation needs and nothing else", () => {
  expect(of("list-apps").curl).toBe('curl http://flywheel/api/v1/apps \\\n  -H "Authorization: Bearer $FLYWHEEL_TOKEN"');
  expect(of("create-app").curl).toContain(`-d '{"name":"NAME","at":"2030-01-31T12:00:00Z"}'`);
  expect(of("log").curl).toMatch(/^curl 'http:\/\/flywheel\/api\/v1\/apps\/APP\/log\?since=SINCE' /);
  expect(of("sign-in").curl).not.toContain("Authorization");
  expect(of("sign-in").curl).toContain(`'{"name":"o'\\''hara"}'`);
});

describe("the API as it is", () => {
  const real = committed as unknown as Description;
  const every = operations(real, "http://flywheel");
  it.each(every.map((operation) => [operation.id, operation] as const))("%s can be shown", (_, { summary, noun, curl, body, answer }) => {
    expect(summary).toBeTruthy();
    expect(noun).toMatch(/^[a-z-]+$/);
    expect(curl).not.toMatch(/undefined|\[object|[{]\w+[}]/);
    if (body?.kind === "application/json") expect(body.fields.length).toBeGreaterThan(0);
    expect(answer.fields.every(({ name, type }) => name && type)).toBe(true);
  });
  it("gives examples with everything that is needed", () => {
    for (const schema of Object.values(real.components.schemas)) {
      const made = example(real, schema) as object;
      if (schema.type === "object") for (const name of schema.required ?? []) expect(made).toHaveProperty([name]);
    }
  });
});
