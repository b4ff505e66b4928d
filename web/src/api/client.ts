// One way to the API, typed by its description. What fails, fails as a Problem: the sentence, the way
// out and the request id that the server gave (RFC 9457), or a sentence of our own when the server could
// not be reached.
import createClient from "openapi-fetch";
import { parseExact } from "./exact";
import type { paths } from "./schema";
import { session } from "./session";
import type { ProblemBody } from "./types";

export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly remedy?: string;
  readonly fields: { path: string; message: string }[];
  readonly requestId?: string;

  constructor(from: Partial<ProblemBody> & { status: number; code: string; detail: string }) {
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

/** Reads the problem that an answer holds. */
export async function read(answer: Response): Promise<Problem> {
  const unknown = { status: answer.status, code: "unknown", detail: `The server answered ${answer.status} without a reason.`, requestId: answer.headers.get("X-Request-Id") ?? undefined };
  try {
    return new Problem({ ...unknown, ...((await answer.json()) as Partial<ProblemBody>) });
  } catch {
    return new Problem(unknown);
  }
}

async function send(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch {
    throw new Problem({ status: 0, code: "network", detail: "Flywheel cannot be reached.", remedy: "What you typed is still here: try again in a moment." });
  }
}

/** The same answer, whose numbers are read digit for digit. */
async function exact(answer: Response): Promise<Response> {
  if (!answer.ok || answer.status === 204 || !/json/.test(answer.headers.get("Content-Type") ?? "")) return answer;
  const text = await answer.text();
  const headers = new Headers(answer.headers);
  headers.set("Content-Length", String(text.length)); // with it the client asks for json(), and does not parse by itself
  const same = new Response(text, { status: answer.status, statusText: answer.statusText, headers });
  same.json = () => Promise.resolve(parseExact(text));
  return same;
}

/** Sends a request. When the session has ended it waits for the person to sign in again and then sends
 *  the same request once more, so that nothing typed is lost. */
async function patient(request: Request): Promise<Response> {
  if (request.method === "POST") request.headers.set("Idempotency-Key", crypto.randomUUID());
  for (;;) {
    const answer = await send(request.clone());
    if (answer.ok) return exact(answer);
    const problem = await read(answer);
    if (problem.status !== 401 || !(await session.again())) throw problem;
  }
}

/** The same for who may not be signed in: a 401 is an answer, not the end of a session. */
async function frank(request: Request): Promise<Response> {
  const answer = await send(request);
  if (!answer.ok) throw await read(answer);
  return exact(answer);
}

const querySerializer = { array: { style: "form", explode: false } } as const; // as the API describes lists
export const api = createClient<paths>({ fetch: patient, querySerializer });
export const anonymous = createClient<paths>({ fetch: frank, querySerializer });

/** What an operation answers. Failures have been thrown by then. */
export async function data<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}

/** Every item of a list that a select box or a short page needs whole: reads on until there is no more. */
export async function every<T>(page: (cursor?: string) => Promise<{ data?: { items: T[]; next?: string } }>): Promise<T[]> {
  const items: T[] = [];
  for (let cursor: string | undefined; ; ) {
    const { items: more, next } = (await page(cursor)).data!;
    items.push(...more);
    if (!next) return items;
    cursor = next;
  }
}

/** The same with the entity tag of what was answered: an edit sends it back, and is refused when
 *  somebody else changed the thing meanwhile. */
export async function tagged<T>(answer: Promise<{ data?: T; response: Response }>): Promise<T & { etag: string }> {
  const { data, response } = await answer;
  return { ...(data as T), etag: response.headers.get("ETag") ?? "" };
}
