// The description of the API (OpenAPI 3.1, as the server itself gives it) in the shape a reader wants:
// operations by noun, fields as one flat list, and a line for the terminal.

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: unknown[];
  default?: unknown;
  examples?: unknown[];
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: boolean | Schema;
}

interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  description?: string;
  schema: Schema;
}

interface Described {
  operationId: string;
  summary: string;
  description?: string;
  parameters?: Parameter[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: Schema }> }>;
  security?: Record<string, unknown>[];
}

export interface Description {
  paths: Record<string, Record<string, Described>>;
  components: { schemas: Record<string, Schema> };
}

/** A parameter or a field: where it stands, what it may be, and what it means. */
export interface Field {
  name: string;
  place: string; // of a parameter: path, query, header
  type: string;
  required: boolean;
  text: string;
}

export interface Operation {
  id: string;
  noun: string;
  method: string;
  path: string;
  summary: string;
  text?: string;
  parameters: Field[];
  body?: { kind: string; fields: Field[] };
  answer: { status: string; kind?: string; fields: Field[] };
  curl: string;
}

const prefix = "/api/v1/";

/** Every operation that the description has, in its order, for a server at base. */
export function operations(api: Description, base: string): Operation[] {
  return Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, from]): Operation => {
    const [status = "200", answer] = Object.entries(from.responses).find(([status]) => status.startsWith("2")) ?? [];
    const [kind, body] = Object.entries(from.requestBody?.content ?? {})[0] ?? [];
    const [answerKind, answered] = Object.entries(answer?.content ?? {})[0] ?? [];
    return {
      id: from.operationId, method: method.toUpperCase(), path, summary: from.summary, text: from.description,
      noun: (path.startsWith(prefix) ? path.slice(prefix.length) : path.slice(1)).split("/")[0]!,
      parameters: (from.parameters ?? []).map((parameter) => ({
        name: parameter.name, place: parameter.in, type: typeOf(api, parameter.schema), required: parameter.required ?? false, text: meaning(parameter.schema, parameter.description),
      })),
      body: kind && body ? { kind, fields: fields(api, body.schema) } : undefined,
      answer: { status, kind: answerKind, fields: answered ? fields(api, answered.schema) : [] },
      curl: curl(api, base, method.toUpperCase(), path, from),
    };
  }));
}

/** The nouns in alphabetical order, each with its operations. */
export function nouns(all: Operation[]): [string, Operation[]][] {
  return [...new Set(all.map(({ noun }) => noun))].sort().map((noun) => [noun, all.filter((operation) => operation.noun === noun)]);
}

/** Whether all words of a query stand in what is said of an operation. */
export function fits(operation: Operation, query: string): boolean {
  const text = `${operation.method} ${operation.path} ${operation.id} ${operation.summary} ${operation.text ?? ""}`.toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function resolve(api: Description, schema: Schema): Schema {
  return schema.$ref ? (api.components.schemas[schema.$ref.split("/").at(-1)!] ?? {}) : schema;
}

/** What a value may be, in the words of JSON Schema: "string (date-time)", "integer[]", "object". */
export function typeOf(api: Description, schema: Schema): string {
  const { type, items, format, additionalProperties: values } = resolve(api, schema);
  const types = [type ?? "any"].flat().filter((one) => one !== "null");
  if (types.includes("array")) return `${items ? typeOf(api, items) : "any"}[]`;
  if (types.includes("object") && values && values !== true && Object.keys(values).length > 0) return `object of ${typeOf(api, values)}`;
  return `${types.join(" or ")}${format && !/^(int|uint|double|float|binary)/.test(format) ? ` (${format})` : ""}`;
}

function meaning(schema: Schema, description = schema.description): string {
  const { minimum: least, maximum: most, maxLength } = schema;
  const choices = schema.enum ?? schema.items?.enum;
  return [
    description,
    choices && `One of ${choices.join(", ")}`,
    least !== undefined && most !== undefined ? `${least} to ${most}` : least !== undefined ? `At least ${least}` : most !== undefined ? `At most ${most}` : undefined,
    maxLength !== undefined && `At most ${maxLength} characters`,
    schema.default !== undefined && `${JSON.stringify(schema.default)} if left out`,
  ].filter(Boolean).join(". ");
}

/** The fields of an object with those inside of it: "items[].name", "instances.*.state". A type inside
 *  of itself is named and not opened again. */
export function fields(api: Description, schema: Schema, path = "", within: string[] = []): Field[] {
  const { properties = {}, required = [] } = inner(api, schema).object;
  return Object.entries(properties).flatMap(([name, property]): Field[] => {
    const { object, suffix, ref } = inner(api, property);
    const field = { name: path + name, place: "", type: typeOf(api, property), required: required.includes(name), text: meaning({ ...resolve(api, property), ...property }) };
    if (!object.properties || within.length > 3 || (ref && within.includes(ref))) return [field];
    return [field, ...fields(api, object, `${path}${name}${suffix}.`, [...within, ref ?? name])];
  });
}

/** The object that a schema describes in the end, through lists and maps, and how the way there is written. */
function inner(api: Description, schema: Schema, suffix = ""): { object: Schema; suffix: string; ref?: string } {
  const object = resolve(api, schema);
  const values = object.additionalProperties;
  if (object.items) return inner(api, object.items, `${suffix}[]`);
  if (!object.properties && values && values !== true && Object.keys(values).length > 0) return inner(api, values, `${suffix}.*`);
  return { object, suffix, ref: schema.$ref };
}

/** A value that could stand there: the example, the default, the first choice, or one of its type. An
 *  object has what it needs, or its first field if it needs none. */
export function example(api: Description, schema: Schema, name = "", depth = 0): unknown {
  const known = resolve(api, schema);
  const given = schema.examples?.[0] ?? known.examples?.[0] ?? known.default ?? known.enum?.[0];
  if (given !== undefined) return given;
  const type = [known.type ?? "object"].flat().find((one) => one !== "null");
  if (type === "array") return known.items && depth < 4 ? [example(api, known.items, name, depth + 1)] : [];
  if (type === "boolean") return true;
  if (type === "integer" || type === "number") return known.minimum ?? 1;
  if (type === "string") return known.format === "date-time" ? "2030-01-31T12:00:00Z" : name.toUpperCase();
  const properties = Object.entries(known.properties ?? {});
  const needed = properties.filter(([key]) => known.required?.includes(key));
  return depth < 4 ? Object.fromEntries((needed.length > 0 ? needed : properties.slice(0, 1)).map(([key, value]) => [key, example(api, value, key, depth + 1)])) : {};
}

const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

function curl(api: Description, base: string, method: string, path: string, from: Described): string {
  const query = (from.parameters ?? []).filter((parameter) => parameter.in === "query" && parameter.required)
    .map(({ name, schema }) => `${name}=${encodeURIComponent(String(example(api, schema, name)))}`).join("&");
  const url = base + path.replace(/\{(\w+)\}/g, (_, name: string) => name.toUpperCase()) + (query && `?${query}`);
  const [kind, body] = Object.entries(from.requestBody?.content ?? {})[0] ?? [];
  const open = from.security?.some((one) => Object.keys(one).length === 0);
  const [answer = ""] = Object.keys(Object.entries(from.responses).find(([status]) => status.startsWith("2"))?.[1].content ?? {});
  return [
    `curl${answer === "text/event-stream" ? " -N" : ""}${method === "GET" ? "" : ` -X ${method}`} ${/[?&]/.test(url) ? quoted(url) : url}`,
    open ? "" : `-H "Authorization: Bearer $FLYWHEEL_TOKEN"`,
    kind ? `-H ${quoted(`Content-Type: ${kind}`)}` : "",
    kind === "application/json" && body ? `-d ${quoted(JSON.stringify(example(api, body.schema)))}` : kind ? "--data-binary @FILE" : "",
  ].filter(Boolean).join(" \\\n  ");
}
