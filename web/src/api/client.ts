// One way to the API. What fails, fails as a Problem: the sentence, the way out and the request id that
// the server gave (RFC 9457), or a sentence of our own when the server could not be reached.
import { session } from "./session";

export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly remedy?: string;
  readonly fields: { path: string; message: string }[];
  readonly requestId?: string;

  constructor(from: { status: number; code: string; detail: string; remedy?: string; fields?: { path: string; message: string }[]; requestId?: string }) {
    super(from.detail);
    this.status = from.status;
    this.code = from.code;
    this.remedy = from.remedy;
    this.fields = from.fields ?? [];
    this.requestId = from.requestId;
  }

  /** The message for one field of the input: "name" finds the path "body.name". */
  field(name: string): string | undefined {
    return this.fields.find((f) => f.path === name || f.path === `body.${name}`)?.message;
  }
}

export interface Options {
  body?: unknown;
  query?: Record<string, string | number | boolean | undefined>;
  /** The answer is text, not JSON. */
  text?: boolean;
  /** A 401 is an answer here, not the end of a session. */
  anonymous?: boolean;
}

export function url(path: string, query: Options["query"] = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") search.set(key, String(value));
  }
  const text = search.toString();
  return `/api/v1${path}${text ? `?${text}` : ""}`;
}

/** Sends a request. When the session has ended it waits for the person to sign in again and then sends
 *  the same request once more, so that nothing typed is lost. */
export async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const key = method === "POST" ? crypto.randomUUID() : undefined;
  for (;;) {
    const answer = await send(method, path, options, key);
    if (answer.ok) {
      if (options.text) return (await answer.text()) as T;
      return (answer.status === 204 || answer.headers.get("Content-Length") === "0" ? undefined : await answer.json()) as T;
    }
    const problem = await read(answer);
    if (problem.status !== 401 || options.anonymous || !(await session.again())) throw problem;
  }
}

async function send(method: string, path: string, options: Options, key?: string): Promise<Response> {
  const headers: Record<string, string> = {};
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  try {
    return await fetch(url(path, options.query), { method, headers, body: options.body === undefined ? undefined : JSON.stringify(options.body) });
  } catch {
    throw new Problem({ status: 0, code: "network", detail: "Flywheel cannot be reached.", remedy: "What you typed is still here: try again in a moment." });
  }
}

export async function read(answer: Response): Promise<Problem> {
  const requestId = answer.headers.get("X-Request-Id") ?? undefined;
  try {
    const body = (await answer.json()) as { code?: string; detail?: string; remedy?: string; fields?: { path: string; message: string }[]; request_id?: string };
    return new Problem({
      status: answer.status, code: body.code ?? "unknown", detail: body.detail ?? answer.statusText,
      remedy: body.remedy, fields: body.fields, requestId: body.request_id ?? requestId,
    });
  } catch {
    return new Problem({ status: answer.status, code: "unknown", detail: `The server answered ${answer.status} without a reason.`, requestId });
  }
}

export const get = <T>(path: string, query?: Options["query"]) => request<T>("GET", path, { query });
export const post = <T>(path: string, body: unknown = {}) => request<T>("POST", path, { body });
export const put = <T>(path: string, body: unknown = {}) => request<T>("PUT", path, { body });
export const remove = <T>(path: string) => request<T>("DELETE", path);

/** Parts of a path that come from data. */
export const segment = (text: string) => encodeURIComponent(text);
