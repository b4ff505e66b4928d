// Numbers of the API as they are. JavaScript rounds a number beyond 2^53 and forgets how it was written; a
// value of a variable must not change because a page showed it.

/** A number that JavaScript has not, digit for digit. */
export class Exact {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
  /** In JSON it is the number. A browser that cannot write it sends its text, which the server takes too. */
  toJSON(): unknown {
    const { rawJSON } = JSON as { rawJSON?: (text: string) => unknown };
    return rawJSON ? rawJSON(this.text) : this.text;
  }
}

const mark = "\u0000"; // no text of the API holds it

/** A number as JavaScript has it, or exact where it would be another one or look like another one. */
export function number(text: string): number | Exact {
  return String(Number(text)) === text ? Number(text) : new Exact(text);
}

/** JSON.parse that keeps every digit of a number. */
export function parseExact(text: string): unknown {
  let found = false;
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g, (one) => {
    if (one.startsWith('"') || String(Number(one)) === one) return one;
    found = true;
    return `{"\\u0000":"${one}"}`;
  });
  if (!found) return JSON.parse(text);
  JSON.parse(text); // a text that is no JSON fails with its own message
  return JSON.parse(marked, (_, value: unknown) => (typeof value === "object" && value !== null && mark in value ? new Exact((value as Record<string, string>)[mark]!) : value));
}

interface Decimal {
  digits: bigint;
  power: number; // of ten
}

function decimal(text: string): Decimal | undefined {
  const parts = /^(-?\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(text);
  if (!parts) return undefined;
  const [, whole = "0", fraction = "", power = "0"] = parts;
  return Math.abs(Number(power)) > 1000 ? undefined : { digits: BigInt(whole + fraction), power: Number(power) - fraction.length };
}

function aligned(a: unknown, b: unknown): [bigint, bigint] | undefined {
  const [x, y] = [decimal(String(a)), decimal(String(b))];
  if (!x || !y) return undefined;
  const power = Math.min(x.power, y.power);
  return [x.digits * 10n ** BigInt(x.power - power), y.digits * 10n ** BigInt(y.power - power)];
}

/** Compares two numbers exactly: below 0 where the first is smaller. NaN if one is no number. */
export function compare(a: unknown, b: unknown): number {
  const pair = aligned(a, b);
  return pair ? (pair[0] < pair[1] ? -1 : pair[0] > pair[1] ? 1 : 0) : NaN;
}

/** Whether a number is a multiple of a step. */
export function multiple(a: unknown, step: unknown): boolean {
  const pair = aligned(a, step);
  return pair !== undefined && pair[1] !== 0n && pair[0] % pair[1] === 0n;
}
