// Self-service: an app from a certified pattern.
import { Button, Checkbox, Select, TextInput } from "@mantine/core";
import { useForm } from "./form";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import type { FormEvent } from "react";
import { Problem } from "../../api/client";
import { Ask, Card, Empty, Note, Page, Wrong } from "../../ui/parts";
import { teamsWhere, useMe } from "../account/queries";
import { patternsQuery } from "../pattern/queries";
import { createApp, environmentsQuery } from "./queries";

const route = getRouteApi("/apps/new");
const shape = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

export default function NewApp() {
  const me = useMe();
  const teams = teamsWhere(me, "create_app");
  const search = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const patterns = useQuery(patternsQuery);
  const environments = useQuery(environmentsQuery);
  const certified = patterns.data?.filter((pattern) => pattern.recommended) ?? [];
  const { values, set } = useForm({ name: "", title: "", team: teams.length === 1 ? teams[0]! : "", pattern: search.pattern ?? "", environments: undefined as string[] | undefined });
  const pattern = values.pattern || (certified.length === 1 ? certified[0]!.name : "");
  const chosen = values.environments ?? environments.data?.map(({ name }) => name) ?? [];
  const create = useMutation({
    mutationFn: () => createApp({ name: values.name, title: values.title || undefined, team: values.team, pattern, environments: chosen }),
    onSuccess: ({ change }) => {
      void client.invalidateQueries({ queryKey: ["app"] });
      void navigate({ to: "/changes/$change", params: { change } });
    },
  });
  const problem = create.error instanceof Problem ? create.error : undefined;
  const nameWrong = values.name && (values.name.length < 2 || values.name.length > 40 || !shape.test(values.name));
  const ready = values.name && !nameWrong && values.team && pattern && chosen.length > 0;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (ready) create.mutate();
  };
  return (
    <Page title="Create an app" width="narrow" crumbs={<Link to="/apps">Apps</Link>}>
      <Ask query={patterns}>
        {() => teams.length === 0 ? (
          <Note tone="quiet" title="You cannot create apps yet">Being a developer of a team lets you. An owner of the team adds you, or an admin with <code className="word">flywheel team add</code>.</Note>
        ) : certified.length === 0 ? (
          <section className="card">
            <Empty title="There is no certified pattern yet" action={<Button variant="default" component={Link} to="/patterns">Patterns</Button>}>An app is made from one. The Center of Excellence certifies the first with <code className="word">flywheel pattern create</code>.</Empty>
          </section>
        ) : (
          <form onSubmit={submit}>
            <Card title="What it is">
              <div className="stack loose">
                <Select label="Pattern" description={certified.find(({ name }) => name === pattern)?.title ?? "Certified by the Center of Excellence"} required withAsterisk={false}
                  data={certified.map(({ name, recommended }) => ({ value: name, label: `${name} ${recommended}` }))} value={pattern || null} onChange={(value) => set({ pattern: value ?? "" })} error={problem?.field("pattern")} />
                <TextInput label="Name" description="2 to 40 lower case letters, digits and hyphens; it is part of its addresses" required withAsterisk={false} value={values.name} autoFocus spellCheck={false} autoCapitalize="none"
                  onChange={(event) => set({ name: event.currentTarget.value })} error={nameWrong ? "Use 2 to 40 lower case letters, digits and single hyphens, beginning with a letter." : problem?.field("name")} />
                <TextInput label="Title" description="What people call it; the name if left out" value={values.title} maxLength={120} onChange={(event) => set({ title: event.currentTarget.value })} error={problem?.field("title")} />
                <Select label="Team" description="Whose it is" required withAsterisk={false} data={teams} value={values.team || null} onChange={(value) => set({ team: value ?? "" })} error={problem?.field("team")} searchable={teams.length > 8} />
                <Ask query={environments} rows={1}>
                  {(items) => items.length === 0 ? <Note tone="hold">The platform has no environments yet. Somebody of the Center of Excellence makes one: <code className="word">flywheel environment create staging --class staging</code></Note> : (
                    <Checkbox.Group label="Environments" description="A change reaches them in this order" value={chosen} onChange={(environments) => set({ environments })}>
                      <div className="line checks">{items.map((environment) => <Checkbox key={environment.name} value={environment.name} label={environment.name} />)}</div>
                    </Checkbox.Group>
                  )}
                </Ask>
              </div>
            </Card>
            <div className="stack form-end">
              <Wrong error={create.error} />
              <p className="dim small">Its repository is made from the pattern's skeleton, by a change that you can follow from the first check to the last deployment.</p>
              <div className="line"><Button type="submit" size="sm" loading={create.isPending} disabled={!ready}>Create the app</Button><Button variant="subtle" color="gray" size="sm" component={Link} to="/apps">Cancel</Button></div>
            </div>
          </form>
        )}
      </Ask>
    </Page>
  );
}
