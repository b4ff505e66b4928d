// Tokens stand for a person outside of the browser: for git, the command line and machines.
import { Checkbox, Radio, Select, TextInput } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { NewToken, Token } from "../../api/types";
import { Confirm } from "../../ui/act";
import { Once } from "../../ui/Once";
import { Ask, Empty, Page, Time } from "../../ui/parts";
import { useForm } from "../app/form";
import { createToken, deleteToken, teamsWhere, tokensQuery, useMe } from "./queries";

const scopes: { value: "read" | "write" | "admin" | "checks:write"; label: string; means: string }[] = [
  { value: "read", label: "Read", means: "sees what you see" },
  { value: "write", label: "Read and write", means: "the work of a team: push, change, deploy" },
  { value: "admin", label: "Everything", means: "decisions for others as well: approvals, environments, people" },
  { value: "checks:write", label: "Results of an outer CI", means: "speaks for a system about the apps of a team, and does nothing else" },
];

export default function Tokens() {
  return (
    <Page title="Tokens" width="narrow" actions={<Add />} below={<p className="dim">A token is what git asks for as the password, and what the command line and machines sign in with, to ask what is in the <Link to="/docs/api" className="link">API</Link>.</p>}>
      <section className="card"><TokenList /></section>
    </Page>
  );
}

/** The tokens of a person, or one's own, each with its end. */
export function TokenList({ user }: { user?: string }) {
  const query = useQuery(tokensQuery(user));
  return (
    <Ask query={query} rows={2}>
      {(items) => items.length === 0 ? <Empty title="No token">{user ? "The person has made none." : <>Make one for git: it asks for it as the password. <code className="word">flywheel login</code> makes its own.</>}</Empty> : (
        <ul className="rows" aria-label="Tokens">{items.map((token) => <li key={token.id} className="token"><Row token={token} /></li>)}</ul>
      )}
    </Ask>
  );
}

function Row({ token }: { token: Token }) {
  const ended = Date.parse(token.expiresAt) < Date.now();
  return (
    <>
      <div className="stack minimal">
        <span className="strong wrap">{token.name}</span>
        <span className="dim small">{token.scopes.join(", ")}{token.system ? ` · speaks for ${token.system} about ${token.app || `the team ${token.team}`}` : token.service && " · for a machine, cannot approve"} · made <Time at={token.createdAt} /></span>
      </div>
      <span className={ended ? "ink-bad small" : "dim small"}>{ended ? "ended" : "ends"} <Time at={token.expiresAt} /></span>
      <Confirm label="Revoke" title={`Revoke ${token.name}`} go="Revoke" danger act={() => deleteToken(token.id)} done="The token is gone.">
        <p>What uses it is refused from now on.</p>
      </Confirm>
    </>
  );
}

function Add() {
  const me = useMe();
  const first = { name: "", scope: "write" as (typeof scopes)[number]["value"], service: false, days: "90", system: "ci", team: "" };
  const { values, set } = useForm(first);
  const [secret, setSecret] = useState<string>();
  const create = () => {
    const checks = values.scope === "checks:write";
    const body: NewToken = { name: values.name, ...(checks ? { system: values.system, team: values.team } : {}), scopes: checks ? ["checks:write"] : scopes.slice(0, scopes.findIndex(({ value }) => value === values.scope) + 1).map(({ value }) => value), service: values.service, expiresAt: new Date(Date.now() + Number(values.days) * 86_400_000).toISOString() };
    return createToken(body);
  };
  return (
    <>
      <Confirm label="Make a token" variant="filled" leftSection={<IconPlus size={15} />} title="Make a token" go="Make it" ready={values.name.trim() !== ""} begin={() => set(first)} act={create} done={({ secret }) => setSecret(secret)}>
        {(problem) => (
          <>
            <TextInput label="What it is for" placeholder="laptop" required withAsterisk={false} data-autofocus value={values.name} maxLength={100} onChange={(event) => set({ name: event.currentTarget.value })} error={problem?.field("name")} />
            <Radio.Group label="What it may do" value={values.scope} onChange={(scope) => set({ scope: scope as typeof first.scope })}>
              <div className="stack checks">{scopes.map(({ value, label, means }) => <Radio key={value} value={value} label={label} description={means} />)}</div>
            </Radio.Group>
            <Select label="It ends" data={[{ value: "7", label: "in a week" }, { value: "30", label: "in 30 days" }, { value: "90", label: "in 90 days" }, { value: "365", label: "in a year" }]} value={values.days} allowDeselect={false} onChange={(days) => set({ days: days ?? "90" })} error={problem?.field("expiresAt")} />
            {values.scope === "checks:write" ? (
              <>
                <TextInput label="System" description="As build.outer of flywheel.yaml names it" value={values.system} onChange={(event) => set({ system: event.currentTarget.value })} error={problem?.field("system")} spellCheck={false} autoCapitalize="none" />
                <Select label="Team" data={teamsWhere(me, "speak_for_checks")} value={values.team || null} onChange={(team) => set({ team: team ?? "" })} error={problem?.field("team")} />
              </>
            ) : <Checkbox label="For a machine" description="It stands for you and cannot approve" checked={values.service} onChange={(event) => set({ service: event.currentTarget.checked })} />}
          </>
        )}
      </Confirm>
      <Once title="Your token" secret={secret} close={() => setSecret(undefined)}><p>Give it to git as the password, or to a machine as <code className="word">FLYWHEEL_TOKEN</code>.</p></Once>
    </>
  );
}
