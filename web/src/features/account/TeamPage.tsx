// One team: who is in it and as what, and what it owns.
import { Button, Select, TextInput } from "@mantine/core";
import { IconTrash } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import type { Role, Team } from "../../api/types";
import { Confirm, useAct } from "../../ui/act";
import { Ask, Avatar, Card, Empty, Page, State, Wrong } from "../../ui/parts";
import { word } from "../../ui/text";
import { appsWhere } from "../app/queries";
import { deleteMember, deleteTeam, may, putMember, renameTeam, roles, teamQuery, useMe, usersQuery } from "./queries";

const route = getRouteApi("/teams/$team");

export default function TeamPage() {
  const { team: name } = route.useParams();
  const me = useMe();
  const query = useQuery(teamQuery(name));
  const team = query.data;
  return (
    <Page title={name} crumbs={<Link to="/teams">Teams</Link>} heading={team && team.title !== name ? <>{team.title} <span className="dim">{name}</span></> : name}
      actions={team && may(me, "manage_teams") && <Actions team={team} />}>
      <Ask query={query}>
        {(team) => (
          <div className="two">
            <Members team={team} manages={may(me, "manage_members", name)} />
            <Apps team={name} />
          </div>
        )}
      </Ask>
    </Page>
  );
}

function Actions({ team }: { team: Team & { etag: string } }) {
  const [title, setTitle] = useState(team.title);
  const [etag, setEtag] = useState(team.etag); // of what the dialog began with
  const navigate = useNavigate();
  return (
    <>
      <Confirm label="Rename" title={`Rename ${team.name}`} go="Rename" ready={title.trim() !== ""} begin={() => { setTitle(team.title); setEtag(team.etag); }} act={() => renameTeam(team.name, title, etag)} done="Renamed.">
        <TextInput label="Title" description="The name stays: it stands in flywheel.yaml" data-autofocus value={title} onChange={(event) => setTitle(event.currentTarget.value)} />
      </Confirm>
      <Confirm label="Delete" title={`Delete ${team.name}`} go="Delete" danger act={() => deleteTeam(team.name)} done={() => void navigate({ to: "/teams" })}>
        <p>A team that still owns an app is not deleted: remove the app, or give it to another team, on its page. Its people stay.</p>
      </Confirm>
    </>
  );
}

function Members({ team, manages }: { team: Team & { etag: string }; manages: boolean }) {
  const client = useQueryClient();
  // Bound to what is shown: who sees an old role does not undo what somebody else decided meanwhile.
  const put = useAct(({ user, role }: { user: string; role: Role }) => putMember(team.name, user, role, team.etag), (now) => client.setQueryData(teamQuery(team.name).queryKey, now));
  return (
    <Card title="People" count={team.members.length} flush>
      {team.members.length === 0 && <Empty title="Nobody yet">{manages ? "Put the first person into it below." : "An owner of the team, or an admin, puts people into it."}</Empty>}
      <ul className="rows" aria-label="Members">
        {team.members.map(({ user, title, role }) => (
          <li key={user} className="member">
            <Avatar name={title || user} />
            <Link to="/users/$user" params={{ user }} className="stack minimal"><span className="strong clip">{title || user}</span>{title !== user && <span className="dim small clip">{user}</span>}</Link>
            {manages ? (
              <>
                <Select aria-label={`Role of ${user}`} size="xs" data={roles.map(({ value, label }) => ({ value, label }))} value={role} allowDeselect={false} disabled={put.isPending} onChange={(next) => next && put.mutate({ user, role: next as Role })} comboboxProps={{ width: 130 }} className="role" />
                <Confirm label={`Take ${user} out of the team`} icon={<IconTrash size={15} />} title={`Take ${user} out of ${team.name}`} go="Take out" danger act={() => deleteMember(team.name, user)} done={`${user} is no longer in ${team.name}.`}>
                  <p>They lose at once what the team may see and do. What they did stays, and they can be put into it again.</p>
                </Confirm>
              </>
            ) : <span className="dim small push" title={roles.find(({ value }) => value === role)?.means}>{word(role)}</span>}
          </li>
        ))}
      </ul>
      {put.error && <div className="pad"><Wrong error={put.error} /></div>}
      {manages && <Add team={team} />}
    </Card>
  );
}

function Add({ team }: { team: Team }) {
  const people = useInfiniteQuery(usersQuery);
  const [user, setUser] = useState<string | null>(null);
  const [role, setRole] = useState<Role>("developer");
  const add = useAct(() => putMember(team.name, user ?? "", role), () => setUser(null));
  const others = (people.data ?? []).filter(({ name, active }) => active && !team.members.some((member) => member.user === name));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (user) add.mutate(undefined);
  };
  return (
    <form className="add-member" onSubmit={submit}>
      <Select label="Person" placeholder="Search by name" searchable data={others.map(({ name, title }) => ({ value: name, label: title === name ? name : `${title} (${name})` }))} value={user} onChange={setUser} nothingFoundMessage="Nobody of that name" className="grow" />
      <Select label="Role" data={roles.map(({ value, label }) => ({ value, label }))} value={role} allowDeselect={false} onChange={(next) => next && setRole(next as Role)} className="role" />
      <Button type="submit" size="sm" disabled={!user} loading={add.isPending}>Add</Button>
      <p className="dim small wide">{word(role)}: {roles.find(({ value }) => value === role)?.means}.</p>
      <div className="wide"><Wrong error={add.error} /></div>
    </form>
  );
}

function Apps({ team }: { team: string }) {
  const query = useInfiniteQuery(appsWhere({ team }));
  const own = query.data ?? [];
  return (
    <Card title="Apps" count={query.hasNextPage ? undefined : own.length} flush aside={<Link className="link small" to="/apps" search={{ team }}>All</Link>}>
      {own.length === 0 ? <Empty title="It owns no app">Or none that you may see.</Empty> : (
        <ul className="rows">{own.slice(0, 20).map((app) => <li key={app.id}><Link to="/apps/$app" params={{ app: app.name }} className="row-link row-plain"><span className="strong clip">{app.name}</span><State state={app.state} plain /></Link></li>)}</ul>
      )}
    </Card>
  );
}
