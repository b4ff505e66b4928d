import { Button, TextInput } from "@mantine/core";
import { IconPlus, IconSearch } from "@tabler/icons-react";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useMemo } from "react";
import type { App } from "../../api/types";
import { Ask, Empty, Page } from "../../ui/parts";
import { Rows } from "../../ui/Rows";
import { teamsQuery, teamsWhere, useMe } from "../account/queries";
import { FirstSteps } from "../home/Home";
import { Instances } from "./Instances";
import { appsWhere } from "./queries";

const route = getRouteApi("/apps");

export default function Apps() {
  const me = useMe();
  const { q = "", team = "" } = route.useSearch();
  const navigate = route.useNavigate();
  const [asked] = useDebouncedValue(q.trim(), 150);
  const filtered = !!asked || !!team;
  const query = useInfiniteQuery({ ...appsWhere({ q: asked || undefined, team: team || undefined }), placeholderData: keepPreviousData });
  const found = useMemo(() => query.data ?? [], [query.data]);
  const every = useInfiniteQuery(teamsQuery).data;
  const teams = useMemo(() => [...new Set([...Object.keys(me?.teams ?? {}).sort(), ...(every ?? []).map(({ name }) => name)])], [me, every]);
  const filter = (next: { q?: string; team?: string }) =>
    void navigate({ search: (old) => ({ ...old, ...next, ...(next.q === "" ? { q: undefined } : {}) }), replace: true });
  const create = teamsWhere(me, "create_app").length > 0 && <Button leftSection={<IconPlus size={15} />} component={Link} to="/apps/new">Create an app</Button>;
  return (
    <Page title="Apps" actions={create}>
      <Ask query={query}>
        {() => found.length === 0 && !filtered && !q ? (
          <>
            <FirstSteps />
            <section className="card"><Empty title="No app that you may see">Apps belong to teams. An owner of a team adds you with <code className="word">flywheel team add</code>; or create one.</Empty></section>
          </>
        ) : (
          <>
            <div className="filters">
              <TextInput aria-label="Search apps" placeholder="Search by name, title or team" leftSection={<IconSearch size={15} />} value={q} onChange={(event) => filter({ q: event.currentTarget.value })} className="search" />
              {teams.length > 1 && (
                <span className="pills" role="group" aria-label="Team">
                  <Link from="/apps" to="/apps" search={(old) => ({ ...old, team: undefined })} className={`pill${team ? "" : " active"}`} aria-current={!team}>All teams</Link>
                  {teams.slice(0, 8).map((name) => (
                    <Link key={name} from="/apps" to="/apps" search={(old) => ({ ...old, team: name })} className={`pill${team === name ? " active" : ""}`} aria-current={team === name}>{name}</Link>
                  ))}
                </span>
              )}
            </div>
            <section className="card">
              {found.length === 0 ? <Empty title="No app matches">Try fewer letters, or another team.</Empty> : (
                <Rows items={found} more={query} label="Apps">{(app) => <AppRow app={app} />}</Rows>
              )}
            </section>
          </>
        )}
      </Ask>
    </Page>
  );
}

function AppRow({ app }: { app: App }) {
  return (
    <Link to="/apps/$app" params={{ app: app.name }} className="row-link row-app">
      <span className="stack tight minimal">
        <span className="clip strong">{app.name}</span>
        {app.title !== app.name && <span className="dim small clip">{app.title}</span>}
      </span>
      <span className="dim wide-only clip">{app.team}</span>
      <span className="dim wide-only clip">{app.pattern.name} <span className="tabular">{app.pattern.version}</span></span>
      <span className="full"><Instances app={app} /></span>
    </Link>
  );
}
