// Variables of all environments in one form. The lane the change would take is shown before it is sent.
import { Button, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { parseExact } from "../../api/exact";
import type { EnvironmentForm, Form as Proposal, Preview, Values } from "../../api/types";
import { useAct } from "../../ui/act";
import { Ask, Card, LaneTag, laneMeaning, Note, Page, Sentence, Wrong } from "../../ui/parts";
import { parse, typed } from "../../ui/schema";
import { SchemaField } from "../../ui/SchemaField";
import { appQuery, formQuery, preview, propose } from "./queries";
import { plural } from "../../ui/text";
import { AskForWaiver } from "./Waivers";

const route = getRouteApi("/apps/$app/variables");

export default function Variables() {
  const { app } = route.useParams();
  const query = useQuery(formQuery(app));
  return (
    <Page title={`Change variables of ${app}`} width="wide" crumbs={<><Link to="/apps">Apps</Link> / <Link to="/apps/$app" params={{ app }}>{app}</Link></>}>
      <Ask query={query}>{(environments) => <Form app={app} environments={environments.map(withWaivers)} />}</Ask>
    </Page>
  );
}

/** A form whose fields know what waivers in force accept. */
export function withWaivers(form: EnvironmentForm): EnvironmentForm {
  const properties = Object.fromEntries(Object.entries(form.schema.properties ?? {}).map(([name, one]) => {
    const waived = form.waivers.flatMap(({ variable, value, until }) => (variable === name && until ? [{ value, until }] : []));
    return [name, waived.length > 0 ? { ...one, waived } : one];
  }));
  return { ...form, schema: { ...form.schema, properties } };
}

interface Outside {
  environment: string;
  variable: string;
  value: unknown;
  bound?: string;
}

/** What differs from what is set, as the API takes it: null goes back to the default. */
export function differences(environments: EnvironmentForm[], texts: Record<string, string>): { changed: Record<string, Values>; count: number; wrong: boolean; outside: Outside[] } {
  const changed: Record<string, Values> = {};
  const outside: Outside[] = [];
  let count = 0;
  let wrong = false;
  for (const { name, schema, values } of environments) {
    for (const [variable, one] of Object.entries(schema.properties ?? {})) {
      const text = texts[`${name}.${variable}`];
      if (text === undefined || text === typed(values?.[variable])) continue;
      const { value, error, outside: refused } = parse(one, text);
      if (error) wrong = true;
      if (refused !== undefined) outside.push({ environment: name, variable, value: refused, bound: error });
      count++;
      (changed[name] ??= {})[variable] = value ?? null;
    }
  }
  return { changed, count, wrong, outside };
}

function Form({ app, environments }: { app: string; environments: EnvironmentForm[] }) {
  const search = route.useSearch();
  const detail = useQuery(appQuery(app));
  const navigate = useNavigate();
  const [texts, setTexts] = useState<Record<string, string>>({});
  const [title, setTitle] = useState("");
  const [version, setVersion] = useState(search.version ?? "");
  const { changed, count, wrong, outside } = differences(environments, texts);
  const range = version && version !== detail.data?.pattern.range ? version : "";
  const proposal: Proposal = { title, environments: changed, ...(range ? { version: range } : {}) };
  const dirty = count > 0 || range !== "";

  const [asked] = useDebouncedValue(JSON.stringify({ environments: changed, version: range }), 250);
  const verdict = useQuery({
    queryKey: ["preview", app, asked],
    queryFn: () => {
      const { environments, version } = parseExact(asked) as { environments: Record<string, Values>; version: string };
      return preview(app, { title: "", environments, ...(version ? { version } : {}) });
    },
    enabled: asked !== '{"environments":{},"version":""}' && !wrong,
    placeholderData: keepPreviousData,
  });
  const send = useAct(() => propose(app, { ...proposal, title: title || summary(changed, range) }), (change) => void navigate({ to: "/changes/$change", params: { change: change.id } }));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (dirty && !wrong) send.mutate(undefined);
  };
  const message = (environment: string, variable: string) =>
    dirty ? verdict.data?.fields?.find(({ path }) => path === `environments.${environment}.variables.${variable}`)?.message : undefined;
  return (
    <form className="deciding" onSubmit={submit}>
      <div className="side-by-side">
        {environments.map(({ name, class: kind, schema, values }) => (
          <section key={name} className="card" aria-label={name}>
            <header><h2>{name} <span className="count">{kind}</span></h2></header>
            <div className="body stack loose">
              {Object.entries(schema.properties ?? {}).length === 0 && <p className="dim">This pattern leaves nothing to the team here.</p>}
              {Object.entries(schema.properties ?? {}).map(([variable, one]) => {
                const key = `${name}.${variable}`;
                const was = typed(values?.[variable]);
                const text = texts[key] ?? was;
                return <SchemaField key={variable} name={variable} schema={one} text={text} was={was} changed={text !== was} error={message(name, variable)} onChange={(next) => setTexts((old) => ({ ...old, [key]: next }))} />;
              })}
            </div>
          </section>
        ))}
      </div>
      <div className="stack sticky">
        <Card title="The change">
          <div className="stack">
            <TextInput label="Title" placeholder={summary(changed, range) || "What it is for"} value={title} maxLength={200} onChange={(event) => setTitle(event.currentTarget.value)} />
            <TextInput label="Pattern version" description={detail.data ? `Now ${detail.data.pattern.version}, from the range ${detail.data.pattern.range ?? "—"}` : undefined} placeholder={detail.data?.pattern.range} value={version} onChange={(event) => setVersion(event.currentTarget.value)} spellCheck={false} />
            <div aria-live="polite" className="stack">
              {!dirty ? <p className="dim">Change a value to see which lane it takes.</p> : wrong ? <Refused app={app} outside={outside} /> : <Verdict app={app} preview={verdict.data} error={verdict.error} />}
            </div>
            <Wrong error={send.error} />
            <div className="line">
              <Button type="submit" size="sm" disabled={!dirty || wrong} loading={send.isPending}>Send{count > 0 ? ` ${plural(count, "change")}` : ""}</Button>
              <Button variant="subtle" color="gray" size="sm" component={Link} to={`/apps/${app}`}>Cancel</Button>
            </div>
          </div>
        </Card>
      </div>
    </form>
  );
}

function Refused({ app, outside }: { app: string; outside: Outside[] }) {
  return (
    <>
      <p className="ink-bad">{outside.length > 0 ? "A value is outside its bounds." : "A value cannot be read."}</p>
      {outside.map((one) => <div key={`${one.environment}.${one.variable}`} className="line"><code>{one.environment}.{one.variable}</code><AskForWaiver app={app} {...one} /></div>)}
    </>
  );
}

function Verdict({ app, preview, error }: { app: string; preview?: Preview; error: unknown }) {
  if (error) return <Wrong error={error} />;
  if (!preview) return <p className="dim">Finding its lane…</p>;
  if (preview.refused) {
    return <Note tone="bad" title="It would be refused"><p><Sentence text={preview.refused} /></p>{preview.remedy && <p><Sentence text={preview.remedy} /></p>}{preview.reasons.map(({ environment, variable, value, text }) => environment && variable && value !== undefined && <AskForWaiver key={text} app={app} environment={environment} variable={variable} value={value} bound={text} />)}</Note>;
  }
  return (
    <>
      <p className="line"><LaneTag lane={preview.lane} big /></p>
      {preview.lane && <p className="dim small">{laneMeaning(preview.lane)}</p>}
      <ul className="reasons">{preview.reasons.map((reason, i) => <li key={i}><Sentence text={reason.text} /></li>)}</ul>
      {preview.reasons.some((reason) => reason.held) && <Note tone="hold"><p>An operator has to release it.</p></Note>}
    </>
  );
}

/** A title that says what changes, for who types none. */
export function summary(changed: Record<string, Values>, version: string): string {
  const parts = Object.entries(changed).flatMap(([environment, values]) => Object.entries(values).map(([name, value]) => `${environment}.${name} to ${value === null ? "its default" : typed(value)}`));
  if (version) parts.push(`the pattern to ${version}`);
  return parts.length === 0 ? "" : parts.length > 3 ? `Set ${parts.length} values` : `Set ${parts.join(", ")}`;
}
