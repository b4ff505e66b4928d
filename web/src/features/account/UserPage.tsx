// One person: what they are, where, and with which tokens.
import { Button, Checkbox, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { Problem } from "../../api/client";
import type { User } from "../../api/types";
import { Confirm, useAct } from "../../ui/act";
import { Editing } from "../../ui/Editing";
import { Once } from "../../ui/Once";
import { Ask, Avatar, Card, Empty, Id, Page, Time, Wrong } from "../../ui/parts";
import { word } from "../../ui/text";
import { useForm } from "../app/form";
import { disciplines, editUser, may, resetPassword, useMe, userQuery, type Discipline } from "./queries";
import { TokenList } from "./Tokens";
import { Rights } from "./Users";

const route = getRouteApi("/users/$user");
type Edited = User & { etag: string };

export default function UserPage() {
  const { user: name } = route.useParams();
  const me = useMe();
  const query = useQuery(userQuery(name));
  const user = query.data;
  const manages = may(me, "manage_users");
  return (
    <Page
      title={user?.title ?? name} crumbs={<Link to="/users">People</Link>}
      heading={user && <span className="line"><Avatar name={user.title} />{user.title} <span className="dim">{user.name}</span></span>}
      below={user && <div className="line small dim"><Rights user={user} /><span>added <Time at={user.createdAt} /></span><Id id={user.id} /></div>}
      actions={user && manages && <Actions user={user} />}
    >
      <Ask query={query}>
        {(user) => (
          <div className="two">
            <div className="stack loose">
              {manages && <Editing key={user.id} known={user}>{(began, saved) => <Edit user={began} saved={saved} />}</Editing>}
              {(manages || user.id === me?.id) && <Card title="Tokens" flush><TokenList user={user.id === me?.id ? undefined : user.name} /></Card>}
              {!manages && user.id !== me?.id && <Card title="Rights"><p className="dim">{user.admin ? "Manages people and teams." : user.disciplines.length > 0 ? "Decides about changes of patterns." : "Works in teams."}</p></Card>}
            </div>
            <Card title="Teams" count={Object.keys(user.teams).length} flush>
              {Object.keys(user.teams).length === 0 ? <Empty title="In no team">An owner of a team, or an admin, puts them into one on <Link className="link" to="/teams">its page</Link>.</Empty> : (
                <ul className="rows">
                  {Object.entries(user.teams).sort(([a], [b]) => a.localeCompare(b)).map(([team, role]) => (
                    <li key={team}><Link to="/teams/$team" params={{ team }} className="row-link row-plain"><span className="strong">{team}</span><span className="dim">{word(role)}</span></Link></li>
                  ))}
                </ul>
              )}
            </Card>
          </div>
        )}
      </Ask>
    </Page>
  );
}

function Actions({ user }: { user: User }) {
  const [password, setPassword] = useState<string>();
  return (
    <>
      {user.active && (
        <Confirm label="New password" title={`Give ${user.name} a new password`} go="Make a password" act={() => resetPassword(user.name)} done={({ password }) => setPassword(password)}>
          <p>The present one ends at once, and so do their sessions. Their tokens stay.</p>
        </Confirm>
      )}
      {user.active ? (
        <Confirm label="Deactivate" title={`Deactivate ${user.name}`} go="Deactivate" danger act={() => editUser(user.name, { active: false })} done={`${user.name} can no longer sign in.`}>
          <p>Their sessions end and their tokens are deleted. What they did stays under their name, and they can be activated again.</p>
        </Confirm>
      ) : (
        <Confirm label="Activate" title={`Activate ${user.name}`} go="Activate" act={() => editUser(user.name, { active: true })} done={`${user.name} can sign in again.`}>
          <p>They sign in with the password they had. Their tokens were deleted.</p>
        </Confirm>
      )}
      <Once title={`The password of ${user.name}`} secret={password} close={() => setPassword(undefined)}><p>Hand it over; they change it in their settings.</p></Once>
    </>
  );
}

function Edit({ user, saved }: { user: Edited; saved: (user: Edited) => void }) {
  const first = { title: user.title, admin: user.admin, disciplines: user.disciplines as Discipline[] };
  const { values, set } = useForm(first);
  const save = useAct(() => editUser(user.name, values, user.etag), (now) => { saved(now); notifications.show({ message: "Saved.", autoClose: 4000, withBorder: true }); });
  const same = JSON.stringify({ ...values, disciplines: [...values.disciplines].sort() }) === JSON.stringify({ ...first, disciplines: [...first.disciplines].sort() });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate(undefined);
  };
  return (
    <Card title="Rights">
      <form className="stack loose" onSubmit={submit}>
        <TextInput label="Full name" value={values.title} required withAsterisk={false} onChange={(event) => set({ title: event.currentTarget.value })} error={save.error instanceof Problem ? save.error.field("title") : undefined} />
        <Checkbox.Group label="Disciplines of the Center of Excellence" description="They decide about changes of patterns, keep environments and see every app" value={values.disciplines} onChange={(list) => set({ disciplines: list as Discipline[] })}>
          <div className="line checks">{disciplines.map((one) => <Checkbox key={one} value={one} label={word(one)} />)}</div>
        </Checkbox.Group>
        <Checkbox label="Admin" description="Manages people and teams, and may do what every team may" checked={values.admin} onChange={(event) => set({ admin: event.currentTarget.checked })} />
        <Wrong error={save.error} />
        <div className="line"><Button type="submit" disabled={same} loading={save.isPending}>Save</Button></div>
      </form>
    </Card>
  );
}
