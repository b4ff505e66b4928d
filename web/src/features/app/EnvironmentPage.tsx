// One environment: what the Center of Excellence says about it, or the form for a new one.
import { ActionIcon, Autocomplete, Button, Checkbox, Select, TextInput } from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { Problem } from "../../api/client";
import type { Environment, EnvironmentBody } from "../../api/types";
import { Confirm, useAct } from "../../ui/act";
import { Editing } from "../../ui/Editing";
import { Ask, Card, Note, Page, Time, Wrong } from "../../ui/parts";
import { meant, typed } from "../../ui/schema";
import { show } from "../../ui/text";
import { may, useMe } from "../account/queries";
import { patternsQuery } from "../pattern/queries";
import { newerWords } from "./Environments";
import { useForm } from "./form";
import { EnvironmentSecrets } from "./Secrets";
import { createEnvironment, deleteEnvironment, environmentQuery, environmentsQuery, updateEnvironment } from "./queries";

export default function EnvironmentPage() {
  const { environment: name } = useParams({ strict: false });
  const manages = may(useMe(), "manage_environments");
  const query = useQuery(environmentsQuery);
  const one = useQuery({ ...environmentQuery(name ?? ""), enabled: !!name });
  const found = one.data;
  const navigate = useNavigate();
  const crumbs = <Link to="/environments">Environments</Link>;
  const actions = manages && found && (
    <Confirm label="Delete" title={`Delete ${found.name}`} go="Delete" danger act={() => deleteEnvironment(found.name)} done={() => void navigate({ to: "/environments" })}>
      <p>Its secrets are deleted with it, and waivers there end. An environment that an app is in, or that another one comes after, is not deleted.</p>
    </Confirm>
  );
  return (
    <Page title={name ?? "Make an environment"} width="narrow" crumbs={crumbs} actions={actions} below={found && <p className="dim small">changed <Time at={found.updatedAt} />{found.updatedBy && ` by ${found.updatedBy}`}</p>}>
      <Ask query={query}>
        {(all) => {
          if (!name) return manages ? <Form all={all} /> : <Note tone="quiet" title="You cannot make environments">The Center of Excellence keeps them.</Note>;
          return (
            <div className="stack loose">
              <Ask query={one}>{(found) => manages ? <Editing key={name} known={found}>{(began) => <Form all={all} known={began} />}</Editing> : <Facts environment={found} />}</Ask>
              {manages && <EnvironmentSecrets environment={name} />}
            </div>
          );
        }}
      </Ask>
    </Page>
  );
}

function Facts({ environment: { class: kind, after, target, onNewer, values, network, reach, freezes } }: { environment: Environment }) {
  const list = Object.entries(values).sort(([a], [b]) => a.localeCompare(b));
  return (
    <>
      <Card title="About">
        <dl className="facts">
          <dt>Class</dt><dd>{kind}</dd>
          <dt>Comes</dt><dd>{after ? <>after <Link className="link" to="/environments/$environment" params={{ environment: after }}>{after}</Link></> : "first"}</dd>
          <dt>Target</dt><dd>{target}</dd>
          <dt>Waiting deployments</dt><dd>{newerWords[onNewer]}</dd>
          <dt>Network</dt><dd>{network ? "the engine with its providers, and rollout commands, may reach it" : "neither the engine with its providers nor rollout commands have one"}</dd>
          <dt>May be reached</dt><dd>{reach.length === 0 ? "an instance's own addresses" : <>an instance's own addresses, and {reach.map((one, i) => <span key={one}>{i > 0 && ", "}<code>{one}</code></span>)}</>}</dd>
          {freezes.map(({ from, until, reason }) => [<dt key={`${from}-name`}>Frozen</dt>, <dd key={from}>{windowOf(from, until)}{reason && `: ${reason}`}</dd>])}
        </dl>
      </Card>
      <Card title="Values" count={list.length}>
        {list.length === 0 ? <p className="dim">None: patterns' own defaults count here.</p> : <dl className="facts">{list.map(([name, value]) => [<dt key={`${name}-name`}><code>{name}</code></dt>, <dd key={name}><code>{show(value)}</code></dd>])}</dl>}
      </Card>
    </>
  );
}

/** A window of time, to the minute and in UTC, as the command line takes it. */
function windowOf(from: string, until: string): string {
  const [begin, end] = [from, until].map((at) => minute(at).replace("T", " "));
  return `from ${begin} to ${end} UTC`;
}

/** A time to the minute in UTC, as a field for times holds it. */
function minute(at: string): string {
  return new Date(at).toISOString().slice(0, 16);
}

interface Freeze {
  from: string;
  until: string;
  reason: string;
}

function Freezes({ list, setList, wrong }: { list: Freeze[]; setList: (list: Freeze[]) => void; wrong?: string }) {
  const put = (at: number, part: Partial<Freeze>) => setList(list.map((freeze, i) => (i === at ? { ...freeze, ...part } : freeze)));
  return (
    <Card title="Freezes" count={list.length}>
      <div className="stack">
        <p className="dim small">Windows in which deployments wait; only rollbacks are deployed. Times are UTC.</p>
        {list.map((freeze, i) => (
          <div key={i} className="freeze">
            <TextInput type="datetime-local" aria-label={`Freeze ${i + 1} from`} value={freeze.from} onChange={(event) => put(i, { from: event.currentTarget.value })} error={freeze.from && freeze.until && freeze.from >= freeze.until ? "Ends before it begins." : wrong} />
            <TextInput type="datetime-local" aria-label={`Freeze ${i + 1} until`} value={freeze.until} onChange={(event) => put(i, { until: event.currentTarget.value })} />
            <TextInput aria-label={`Reason of freeze ${i + 1}`} placeholder="Why, for example the sale" maxLength={200} value={freeze.reason} onChange={(event) => put(i, { reason: event.currentTarget.value })} />
            <ActionIcon variant="subtle" color="gray" size="lg" aria-label={`Delete freeze ${i + 1}`} onClick={() => setList(list.filter((_, at) => at !== i))}><IconTrash size={15} /></ActionIcon>
          </div>
        ))}
        <div><Button variant="default" leftSection={<IconPlus size={14} />} onClick={() => setList([...list, { from: "", until: "", reason: "" }])}>Add a freeze</Button></div>
      </div>
    </Card>
  );
}

interface Value {
  name: string;
  text: string;
}

/** A value as it is typed: text that would read as JSON stands in quotes. */
export function written(value: unknown): string {
  return typeof value === "string" && meant(value) !== value ? JSON.stringify(value) : typed(value);
}

function Form({ all, known }: { all: Environment[]; known?: Environment & { etag: string } }) {
  const navigate = useNavigate();
  const { values, set } = useForm({
    name: "", class: known?.class ?? ("staging" as Environment["class"]), after: known ? (known.after ?? "") : (last(all)?.name ?? ""), target: known?.target ?? "local", onNewer: known?.onNewer ?? ("queue" as Environment["onNewer"]), network: known?.network ?? false, reach: (known?.reach ?? []).join(" "),
  });
  const [freezes, setFreezes] = useState<Freeze[]>(() => (known?.freezes ?? []).map(({ from, until, reason = "" }) => ({ from: minute(from), until: minute(until), reason })));
  const [list, setList] = useState<Value[]>(() => Object.entries(known?.values ?? {}).sort(([a], [b]) => a.localeCompare(b)).map(([name, value]) => ({ name, text: written(value) })));
  const body: EnvironmentBody = { ...values, reach: values.reach.split(/[\s,]+/).filter(Boolean), freezes: freezes.filter(({ from, until }) => from && until).map(({ from, until, reason }) => ({ from: `${from}:00Z`, until: `${until}:00Z`, reason: reason || undefined })), after: values.after || undefined, values: Object.fromEntries(list.filter(({ name }) => name).map(({ name, text }) => [name, meant(text)])) };
  const save = useAct(() => (known ? updateEnvironment(known.name, { ...body, name: undefined }, known.etag) : createEnvironment(body)), () => void navigate({ to: "/environments" }));
  const problem = save.error instanceof Problem ? save.error : undefined;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (known || values.name) save.mutate(undefined);
  };
  return (
    <form className="stack loose" onSubmit={submit}>
      <Card title="What it is">
        <div className="stack loose">
          {!known && <TextInput label="Name" description="2 to 40 lower case letters, digits and hyphens" placeholder="prod" required withAsterisk={false} autoFocus value={values.name} onChange={(event) => set({ name: event.currentTarget.value })} error={problem?.field("name")} spellCheck={false} autoCapitalize="none" />}
          <Select label="Class" description="Bounds of patterns may be tighter for a class" data={["development", "staging", "production"]} value={values.class} allowDeselect={false} onChange={(next) => next && set({ class: next as Environment["class"] })} error={problem?.field("class")} />
          <Select label="Comes after" description="A change must pass that one before it reaches this one" placeholder="none: it comes first" clearable data={all.filter(({ name }) => name !== known?.name).map(({ name }) => name)} value={values.after || null} onChange={(next) => set({ after: next ?? "" })} error={problem?.field("after")} />
          <TextInput label="Target" description="Where it runs: local, or the name of an outer target" value={values.target} onChange={(event) => set({ target: event.currentTarget.value })} error={problem?.field("target")} spellCheck={false} />
          <Select label="When a newer deployment comes" description="What happens to the ones that wait" data={[{ value: "queue", label: "One after the other" }, { value: "replace-pending", label: "The newest replaces what waits" }]} value={values.onNewer} allowDeselect={false} onChange={(next) => next && set({ onNewer: next as Environment["onNewer"] })} error={problem?.field("onNewer")} />
          <Checkbox label="Rollout commands may reach the network" description="For patterns whose release driver is command; plans of patterns under review may reach it too" checked={values.network} onChange={(event) => set({ network: event.currentTarget.checked })} />
          <TextInput label="What probes and smoke tests may connect to" description="Besides an instance's own addresses: hosts, addresses and ranges, each with :port where only one is meant" placeholder="shop.example.com *.example.org 10.1.0.0/16" value={values.reach} onChange={(event) => set({ reach: event.currentTarget.value })} error={problem?.field("reach")} spellCheck={false} autoCapitalize="none" />
        </div>
      </Card>
      <Freezes list={freezes} setList={setFreezes} wrong={problem?.field("freezes")} />
      <Values list={list} setList={setList} />
      <Wrong error={save.error} />
      <div className="line"><Button type="submit" size="sm" disabled={!known && !values.name} loading={save.isPending}>{known ? "Save" : "Make the environment"}</Button><Button variant="subtle" color="gray" size="sm" component={Link} to="/environments">Cancel</Button></div>
    </form>
  );
}

function Values({ list, setList }: { list: Value[]; setList: (list: Value[]) => void }) {
  const patterns = useQuery(patternsQuery);
  const names = [...new Set((patterns.data ?? []).flatMap(({ versions }) => versions.flatMap(({ interface: { variables } }) => variables.filter(({ control }) => control === "coe").map(({ name }) => name))))].sort();
  const put = (at: number, part: Partial<Value>) => setList(list.map((value, i) => (i === at ? { ...value, ...part } : value)));
  return (
    <Card title="Values" count={list.length}>
      <div className="stack">
        <p className="dim small">Variables of patterns that the Center of Excellence controls. They count in this environment for every app, and a team cannot set them.</p>
        {list.map((value, i) => (
          <div key={i} className="value">
            <Autocomplete aria-label={`Name of value ${i + 1}`} placeholder="vpc_id" data={names} value={value.name} onChange={(name) => put(i, { name })} spellCheck={false} />
            <TextInput aria-label={`Value ${i + 1}`} placeholder='text, 3, true or ["a", "b"]' value={value.text} onChange={(event) => put(i, { text: event.currentTarget.value })} spellCheck={false} />
            <ActionIcon variant="subtle" color="gray" size="lg" aria-label={`Delete value ${i + 1}`} onClick={() => setList(list.filter((_, at) => at !== i))}><IconTrash size={15} /></ActionIcon>
          </div>
        ))}
        <div><Button variant="default" leftSection={<IconPlus size={14} />} onClick={() => setList([...list, { name: "", text: "" }])}>Add a value</Button></div>
      </div>
    </Card>
  );
}

function last(all: Environment[]): Environment | undefined {
  return [...all].sort((a, b) => b.order - a.order)[0];
}
