// What a person sets for themselves.
import { Button, PasswordInput, SegmentedControl, useMantineColorScheme, type MantineColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { Problem } from "../../api/client";
import { Confirm, useAct } from "../../ui/act";
import { Ask, Card, Id, Page, Time, Wrong } from "../../ui/parts";
import { changePassword, editSettings, may, settingsQuery, useMe } from "./queries";
import { Sessions } from "./Sessions";
import { Rights } from "./Users";

export default function Settings() {
  const me = useMe();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  if (!me) return null;
  const teams = Object.entries(me.teams).sort(([a], [b]) => a.localeCompare(b));
  return (
    <Page title="Settings" width="narrow">
      <Card title="You">
        <dl className="facts">
          <dt>Name</dt><dd>{me.name}</dd>
          <dt>Full name</dt><dd>{me.title}</dd>
          <dt>Rights</dt><dd>{me.admin || me.disciplines.length > 0 ? <Rights user={{ ...me, active: true }} /> : <span className="dim">those of your teams</span>}</dd>
          <dt>Teams</dt>
          <dd>{teams.length === 0 ? <span className="dim">none; an owner of a team puts you into it</span> : teams.map(([team, role], i) => <span key={team}>{i > 0 && ", "}<Link className="link" to="/teams/$team" params={{ team }}>{team}</Link> <span className="dim">{role}</span></span>)}</dd>
          <dt>Tokens</dt><dd><Link className="link" to="/tokens">For git, the command line and machines</Link></dd>
          <dt>Id</dt><dd><Id id={me.id} /></dd>
        </dl>
      </Card>
      <Password />
      <Sessions />
      <Platform />
      <Card title="Appearance">
        <SegmentedControl size="xs" aria-label="Colours" data={[{ value: "light", label: "Light" }, { value: "dark", label: "Dark" }, { value: "auto", label: "Like the system" }]} value={colorScheme} onChange={(scheme) => setColorScheme(scheme as MantineColorScheme)} />
      </Card>
    </Page>
  );
}

function Password() {
  const [present, setPresent] = useState("");
  const [next, setNext] = useState("");
  const change = useAct(() => changePassword(present, next), "Your password is changed.");
  const problem = change.error instanceof Problem ? change.error : undefined;
  const short = next !== "" && next.length < 10;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!short) change.mutate(undefined, { onSuccess: () => { setPresent(""); setNext(""); } });
  };
  return (
    <Card title="Password">
      <form className="stack" onSubmit={submit}>
        <PasswordInput label="Present password" autoComplete="current-password" required withAsterisk={false} value={present} onChange={(event) => setPresent(event.currentTarget.value)} error={problem?.field("present")} />
        <PasswordInput label="New password" description="10 to 200 characters" autoComplete="new-password" required withAsterisk={false} value={next} onChange={(event) => setNext(event.currentTarget.value)} error={short ? "Use at least 10 characters." : problem?.field("next")} />
        <p className="dim small">Your other sessions end; this one and your tokens stay.</p>
        <Wrong error={change.error} />
        <div className="line"><Button type="submit" disabled={!present || !next || short} loading={change.isPending}>Change the password</Button></div>
      </form>
    </Card>
  );
}

/** What holds for everybody; an admin may change it. */
function Platform() {
  const me = useMe();
  const query = useQuery(settingsQuery);
  const { fourEyes, updatedBy, updatedAt } = query.data ?? {};
  return (
    <Card title="Platform">
      <Ask query={query} rows={1}>
        {() => (
          <div className="stack">
            <p>Four eyes is <span className={fourEyes ? "strong" : "ink-hold strong"}>{fourEyes ? "on" : "off"}</span>{updatedBy && updatedAt && <span className="dim small"> since <Time at={updatedAt} />, by {updatedBy}</span>}</p>
            <p className="dim small">While it is on, whoever wrote what would destroy or replace something stateful in production cannot release it: somebody else does.</p>
            {may(me, "manage_settings") && (
              <div className="line">
                <Confirm label={fourEyes ? "Turn it off" : "Turn it on"} title={fourEyes ? "Turn four eyes off" : "Turn four eyes on"} go={fourEyes ? "Turn it off" : "Turn it on"} danger={fourEyes} act={() => editSettings({ fourEyes: !fourEyes })} done="The settings are changed.">
                  <p>{fourEyes ? "Authors may then release what destroys data in production. The audit log says who turned it off." : "Authors then need somebody else to release what destroys data in production."}</p>
                </Confirm>
              </div>
            )}
          </div>
        )}
      </Ask>
    </Card>
  );
}
