import { Select, Textarea, TextInput } from "@mantine/core";
import type { Schema } from "../api/types";
import { Time } from "./parts";
import { bounds, kind, parse, typed } from "./schema";
import { show } from "./text";

/** One variable as a field: its description and bounds under its name, and what is wrong with what was
 *  typed. */
export function SchemaField({ name, schema, text, changed, was, error, onChange }: {
  name: string; schema: Schema; text: string; changed: boolean; was: string; error?: string; onChange: (text: string) => void;
}) {
  const wrong = error ?? parse(schema, text).error;
  const limits = bounds(schema);
  const common = {
    label: <><code>{name}</code>{changed && <span className="ink-busy small"> changed{was ? <>, was <code>{was}</code></> : null}</span>}</>,
    description: (
      <>
        {schema.description && <span>{schema.description}{limits && " · "}</span>}
        {limits && <span className="bound">{limits}</span>}
        {schema.waived?.map(({ value, until }) => <span key={typed(value)}> · waiver for <code>{show(value)}</code>, ends <Time at={until} /></span>)}
      </>
    ),
    placeholder: schema.default !== undefined && schema.default !== null ? `default: ${show(schema.default)}` : "default",
    error: wrong,
    disabled: schema.readOnly,
  };
  switch (kind(schema)) {
    case "enum":
      return <Select {...common} data={[...schema.enum!, ...(schema.waived ?? []).map(({ value }) => value)].map(show)} value={text || null} clearable onChange={(value) => onChange(value ?? "")} />;
    case "boolean":
      return <Select {...common} data={["true", "false"]} value={text || null} clearable onChange={(value) => onChange(value ?? "")} />;
    case "number":
      return <TextInput {...common} value={text} onChange={(event) => onChange(event.currentTarget.value.trim())} inputMode="decimal" spellCheck={false} />; // a number field would round
    case "json":
      return <Textarea {...common} autosize minRows={1} value={text} onChange={(event) => onChange(event.currentTarget.value)} />;
  }
  return <TextInput {...common} value={text} onChange={(event) => onChange(event.currentTarget.value)} spellCheck={false} />;
}
