// The people who can sign in.
import { Checkbox, TextInput } from "@mantine/core";
import { IconPlus, IconSearch } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import type { User } from "../../api/types";
import { Confirm } from "../../ui/act";
import { Once } from "../../ui/Once";
import { Ask, Avatar, Empty, Page, Time } from "../../ui/parts";
import { Rows } from "../../ui/Rows";
import { match, word } from "../../ui/text";
import { useForm } from "../app/form";
import { createUser, disciplines, may, useMe, usersQuery, type Discipline } from "./queries";

const route = getRouteApi("/users");
const shows: [string, string, (user: User) => boolean][] = [
  ["", "Active", (user) => user.active],
  ["coe", "Center of Excellence", (user) => user.active && user.disciplines.length > 0],
  ["admins", "Admins", (user) => user.active && user.admin],
  ["inactive", "Deactivated", (user) => !user.active],
];

export default function Users() {
  const me = useMe();
  const { q = "", show = "" } = route.useSearch();
  const navigate = route.useNavigate();
  const query = useInfiniteQuery(usersQuery);
  const found = useMemo(() => {
    const fits = shows.find(([name]) => name === show)?.[2] ?? (() => true);
    return (query.data ?? []).filter((user) => fits(user) && Math.max(match(q, user.name), match(q, user.title)) > 0);
  }, [query.data, q, show]);
  return (
    <Page title="People" actions={may(me, "manage_users") && <Add />}>
      <div className="filters">
        <TextInput aria-label="Search people" placeholder="Search by name" leftSection={<IconSearch size={15} />} value={q} className="search"
          onChange={(event) => void navigate({ search: (old) => ({ ...old, q: event.currentTarget.value || undefined }), replace: true })} />
        <nav className="pills" aria-label="Which">
          {shows.map(([name, label]) => <Link key={name} from="/users" to="/users" search={(old) => ({ ...old, show: name || undefined })} className={`pill${show === name ? " active" : ""}`} aria-current={show === name}>{label}</Link>)}
        </nav>
      </div>
      <Ask query={query}>
        {() => (
          <section className="card">
            {found.length === 0 ? <Empty title="Nobody matches">{may(me, "manage_users") ? "Add a person, or look among the others." : "Admins add people and say what they are."}</Empty>
              : <Rows items={found} more={query} label="People">{(user) => <Row user={user} />}</Rows>}
          </section>
        )}
      </Ask>
    </Page>
  );
}

function Row({ user }: { user: User }) {
  const teams = Object.entries(user.teams).sort(([a], [b]) => a.localeCompare(b));
  return (
    <Link to="/users/$user" params={{ user: user.name }} className="row-link row-user">
      <span className="line nowrap-line"><Avatar name={user.title || user.name} /><span className="stack minimal"><span className="strong clip">{user.title}</span><span className="dim small clip">{user.name}</span></span></span>
      <Rights user={user} />
      <span className="dim small clip wide-only">{teams.map(([team, role]) => `${team} (${role})`).join(", ") || "in no team"}</span>
      <span className="dim small end wide-only" title="Added"><Time at={user.createdAt} /></span>
    </Link>
  );
}

/** What a person is for the whole platform, as words in colour. */
export function Rights({ user }: { user: { admin: boolean; disciplines: string[]; active: boolean } }) {
  return (
    <span className="line gap-4">
      {!user.active && <span className="tag tone-bad">Deactivated</span>}
      {user.admin && <span className="tag tone-busy">Admin</span>}
      {user.disciplines.map((discipline) => <span key={discipline} className="tag tone-quiet">{word(discipline)}</span>)}
    </span>
  );
}

function Add() {
  const first = { name: "", title: "", admin: false, disciplines: [] as Discipline[] };
  const { values, set } = useForm(first);
  const [made, setMade] = useState<{ name: string; password: string }>();
  return (
    <>
      <Confirm label="Add a person" variant="filled" leftSection={<IconPlus size={15} />} title="Add a person" go="Add" ready={values.name !== ""} begin={() => set(first)}
        act={() => createUser({ ...values, title: values.title || undefined })} done={({ name, password }) => setMade({ name, password: password ?? "" })}>
        {(problem) => (
          <>
            <TextInput label="Name" description="They sign in with it" required withAsterisk={false} data-autofocus value={values.name} onChange={(event) => set({ name: event.currentTarget.value })} error={problem?.field("name")} autoCapitalize="none" spellCheck={false} />
            <TextInput label="Full name" value={values.title} onChange={(event) => set({ title: event.currentTarget.value })} error={problem?.field("title")} />
            <Checkbox.Group label="Disciplines of the Center of Excellence" description="They decide about changes of patterns. Leave them out for people of product teams." value={values.disciplines} onChange={(list) => set({ disciplines: list as Discipline[] })}>
              <div className="line checks">{disciplines.map((one) => <Checkbox key={one} value={one} label={word(one)} />)}</div>
            </Checkbox.Group>
            <Checkbox label="Admin" description="Manages people and teams" checked={values.admin} onChange={(event) => set({ admin: event.currentTarget.checked })} />
          </>
        )}
      </Confirm>
      <Once title={`The password of ${made?.name ?? ""}`} secret={made?.password} close={() => setMade(undefined)}>
        <p>Hand it over; they change it under their name, in the settings. To work with apps they also need <Link className="link" to="/teams">a team</Link>.</p>
      </Once>
    </>
  );
}
