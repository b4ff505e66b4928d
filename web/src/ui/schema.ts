// JSON Schema for people: what a field takes, and whether what was typed fits. The server decides; this
// tells sooner.
import type { Schema } from "../api/types";
import { compare, Exact, multiple, number, parseExact } from "../api/exact";
import { show } from "./text";

export function kind(schema: Schema): "enum" | "boolean" | "number" | "string" | "json" {
  if (schema.enum) return "enum";
  const types = typeof schema.type === "string" ? [schema.type] : (schema.type ?? []).filter((type) => type !== "null");
  if (types.includes("integer") || types.includes("number")) return "number";
  if (types.includes("boolean")) return "boolean";
  if (types.includes("array") || types.includes("object")) return "json";
  if (types.length === 0 && (schema.minimum !== undefined || schema.maximum !== undefined)) return "number";
  return "string";
}

/** The bounds in words: "1 to 10", "one of 15, 16". Empty if there are none. */
export function bounds(schema: Schema): string {
  const parts: string[] = [];
  if (schema.const !== undefined) parts.push(`always ${show(schema.const)}`);
  if (schema.enum) parts.push(`one of ${schema.enum.map(show).join(", ")}`);
  parts.push(span(schema.minimum, schema.maximum, ""));
  if (schema.exclusiveMinimum !== undefined) parts.push(`more than ${show(schema.exclusiveMinimum)}`);
  if (schema.exclusiveMaximum !== undefined) parts.push(`less than ${show(schema.exclusiveMaximum)}`);
  if (schema.multipleOf !== undefined) parts.push(`in steps of ${schema.multipleOf}`);
  parts.push(span(schema.minLength, schema.maxLength, " characters"));
  parts.push(span(schema.minItems, schema.maxItems, " entries"));
  if (schema.pattern) parts.push(`matches ${schema.pattern}`);
  return parts.filter(Boolean).join(", ");
}

function span(low: number | undefined, high: number | undefined, unit: string): string {
  if (low !== undefined && high !== undefined) return low === high ? `exactly ${low}${unit}` : `${low} to ${high}${unit}`;
  if (low !== undefined) return `at least ${low}${unit}`;
  if (high !== undefined) return `at most ${high}${unit}`;
  return "";
}

/** What was typed as a value, or what is wrong with it. Nothing typed is no value: the default counts. What
 *  is only outside its bounds comes as well, because a waiver could accept it. */
export function parse(schema: Schema, text: string): { value?: unknown; error?: string; outside?: unknown } {
  if (text === "") return {};
  const accepted = schema.waived?.find(({ value }) => typed(value) === text);
  if (accepted) return { value: accepted.value };
  const say = (ok: boolean, value: unknown) => (ok ? { value } : { error: `Allowed: ${bounds(schema)}.`, outside: value });
  switch (kind(schema)) {
    case "enum": {
      const found = schema.enum!.find((one) => show(one) === text);
      return say(found !== undefined, found);
    }
    case "boolean":
      return text === "true" || text === "false" ? { value: text === "true" } : { error: "Must be true or false." };
    case "number": {
      if (!/^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(text)) return { error: "Must be a number, for example 3 or 0.5." };
      const value = number(text);
      const whole = schema.type === "integer" || (Array.isArray(schema.type) && schema.type.includes("integer") && !schema.type.includes("number"));
      if (whole && !multiple(text, 1)) return { error: "Must be a whole number." };
      const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
      const inside = !(minimum !== undefined && compare(text, minimum) < 0) && !(maximum !== undefined && compare(text, maximum) > 0) &&
        !(exclusiveMinimum !== undefined && compare(text, exclusiveMinimum) <= 0) && !(exclusiveMaximum !== undefined && compare(text, exclusiveMaximum) >= 0) &&
        (multipleOf === undefined || multiple(text, multipleOf));
      return say(inside, value);
    }
    case "json":
      try {
        return { value: parseExact(text) };
      } catch {
        return { error: 'Must be JSON, for example ["a", "b"].' };
      }
  }
  if (schema.type === undefined && schema.pattern === undefined && schema.minLength === undefined && schema.maxLength === undefined) return { value: meant(text) };
  let fits = text.length >= (schema.minLength ?? 0) && text.length <= (schema.maxLength ?? Infinity);
  if (fits && schema.pattern) {
    try {
      fits = new RegExp(schema.pattern, "u").test(text);
    } catch {
      // The server's dialect knows more; it will say.
    }
  }
  return say(fits, text);
}

/** What was typed where any type is taken: JSON where it is that, else text. */
export function meant(text: string): unknown {
  try {
    return parseExact(text);
  } catch {
    return text;
  }
}

/** A value as it stands in its field. */
export function typed(value: unknown): string {
  return value === undefined || value === null ? "" : typeof value === "string" ? value : value instanceof Exact ? value.text : JSON.stringify(value);
}
