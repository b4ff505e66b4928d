// Teams own apps.
import { TextInput } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Confirm } from "../../ui/act";
import { Ask, Avatar, Empty, Page } from "../../ui/parts";
import { Rows } from "../../ui/Rows";
import { plural } from "../../ui/text";
import { useForm } from "../app/form";
import { createTeam, may, teamsQuery, useMe } from "./queries";

export default function Teams() {
  const me = useMe();
  const query = useInfiniteQuery(teamsQuery);
  const manages = may(me, "manage_teams");
  return (
    <Page title="Teams" actions={manages && <Add />}>
      <Ask query={query}>
        {(items) => (
          <section className="card">
            {items.length === 0 ? <Empty title="No team yet">{manages ? "Apps belong to teams: make the first one, then put people into it." : "An admin makes teams and puts people into them."}</Empty> : (
              <Rows items={items} more={query} label="Teams">
                {(team) => (
                  <Link to="/teams/$team" params={{ team: team.name }} className="row-link row-team">
                    <span className="stack minimal"><span className="strong clip">{team.name}</span>{team.title !== team.name && <span className="dim small clip">{team.title}</span>}</span>
                    <span className="avatars wide-only" aria-hidden>{team.members.slice(0, 6).map(({ user, title }) => <Avatar key={user} name={title || user} />)}</span>
                    <span className="dim small end">{me?.teams[team.name] && <span className="tag tone-busy">{me.teams[team.name]}</span>} {plural(team.members.length, "person", "people")}</span>
                  </Link>
                )}
              </Rows>
            )}
          </section>
        )}
      </Ask>
    </Page>
  );
}

function Add() {
  const first = { name: "", title: "" };
  const { values, set } = useForm(first);
  const navigate = useNavigate();
  return (
    <Confirm label="Make a team" variant="filled" leftSection={<IconPlus size={15} />} title="Make a team" go="Make it" ready={values.name !== ""} begin={() => set(first)}
      act={() => createTeam({ name: values.name, title: values.title || undefined })} done={({ name }) => void navigate({ to: "/teams/$team", params: { team: name } })}>
      {(problem) => (
        <>
          <TextInput label="Name" description="As it stands in flywheel.yaml" required withAsterisk={false} data-autofocus value={values.name} onChange={(event) => set({ name: event.currentTarget.value })} error={problem?.field("name")} autoCapitalize="none" spellCheck={false} />
          <TextInput label="Title" description="What people call it; the name if left out" value={values.title} onChange={(event) => set({ title: event.currentTarget.value })} error={problem?.field("title")} />
        </>
      )}
    </Confirm>
  );
}
