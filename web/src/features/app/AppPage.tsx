// An app with its environments side by side.
import { Button } from "@mantine/core";
import { IconAdjustmentsHorizontal, IconArrowBackUp, IconArrowUp, IconExternalLink, IconKey, IconPin, IconRefresh, IconTrash, IconUsersGroup } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import type { App, Change, Environment, Instance } from "../../api/types";
import { Confirm, More } from "../../ui/act";
import { Ask, Card, Empty, Id, Note, Page, Sentence, State, StateIcon, Time, Took } from "../../ui/parts";
import { show, word } from "../../ui/text";
import { may, useMe } from "../account/queries";
import { ChangeLink, ChangeRow } from "../change/parts";
import { changesQuery } from "../change/queries";
import { kindWords } from "../deploy/parts";
import { deploymentsQuery } from "../deploy/queries";
import { appQuery, redeploy, removeApp, removeEnvironment } from "./queries";
import { Secrets } from "./Secrets";
import { day, WaiversOf } from "./Waivers";
import { Give, Remove, RollBack } from "./Dialogs";

const route = getRouteApi("/apps/$app");

export default function AppPage() {
  const { app: name } = route.useParams();
  const me = useMe();
  const query = useQuery(appQuery(name));
  const app = query.data;
  const can = (permission: string) => app?.state !== "removed" && may(me, permission, app?.team ?? "");
  return (
    <Page
      title={name} width="wide"
      heading={app && app.title !== name ? <>{app.title} <span className="dim">{name}</span></> : name}
      crumbs={<Link to="/apps">Apps</Link>}
      below={app && (
        <div className="line small dim">
          {app.state !== "active" && <State state={app.state} />}
          <span>Team {app.team}</span>
          <span>Pattern <Link className="link" to="/patterns/$pattern/$version" params={{ pattern: app.pattern.name, version: app.pattern.version || "latest" }}>{app.pattern.name} {app.pattern.version}</Link>{app.pattern.range && <> <code>{app.pattern.range}</code></>}</span>
          <Id id={`git clone ${app.repository}`} label={app.repository.replace(/^https?:\/\//, "")} />
        </div>
      )}
      actions={app && (
        <>
          {can("change_variables") && <Button variant="default" leftSection={<IconAdjustmentsHorizontal size={15} />} component={Link} to={`/apps/${name}/variables`}>Change variables</Button>}
          {(can("remove_app") || can("give_app")) && <Seldom app={app} can={can} />}
        </>
      )}
    >
      <Ask query={query}>
        {(app) => (
          <>
            {app.recommended && (
              <Note tone="quiet" icon={<IconArrowUp size={16} className="ink-busy" aria-hidden />}
                action={can("change_variables") && <Button variant="default" component={Link} to={`/apps/${name}/variables?version=~${app.recommended}`}>Move to {app.recommended}</Button>}>
                <p>{app.pattern.name} {app.recommended} is recommended; this app is on {app.pattern.version}.</p>
              </Note>
            )}
            {app.removedAt ? (
              <section className="card"><Empty title={`Removed by ${app.removedBy}`}>It is gone since <Time at={app.removedAt} />. Its changes, deployments and code can still be read.</Empty></section>
            ) : columns(app).length === 0 ? (
              <section className="card"><Empty title="No environment yet">It appears here when the first change is merged. Its environments stand in <code className="word">flywheel.yaml</code>.</Empty></section>
            ) : (
              <div className="side-by-side">
                {columns(app).map(({ environment, instance, name }) => <Place key={name} app={app} name={name} environment={environment} instance={instance} can={can} />)}
              </div>
            )}
            <Changes app={name} />
          </>
        )}
      </Ask>
    </Page>
  );
}

/** The selected environments in their order, and instances of those no longer selected. */
function columns(app: App): { name: string; environment?: Environment; instance?: Instance }[] {
  const instances = app.instances;
  const selected = [...app.environments].sort((a, b) => a.order - b.order || a.name.localeCompare(b.name));
  const rest = instances.filter((instance) => instance.state !== "removed" && !selected.some(({ name }) => name === instance.environment));
  return [
    ...selected.map((environment) => ({ name: environment.name, environment, instance: instances.find((instance) => instance.environment === environment.name) })),
    ...rest.map((instance) => ({ name: instance.environment, instance })),
  ];
}

function Place({ app, name, environment, instance, can }: { app: App; name: string; environment?: Environment; instance?: Instance; can: (permission: string) => boolean }) {
  const [dialog, setDialog] = useState<"secrets" | "rollback" | "remove">();
  const deployed = instance?.deployed.digest ? instance.deployed : undefined;
  const titles = useTitles(app.name);
  const history = useInfiniteQuery(deploymentsQuery({ app: app.name, environment: name }, 5)).data ?? [];
  // A rollback names the change it takes back, so what runs is told by the change that brought the same.
  const brought = deployed && history.find((d) => d.state === "succeeded" && d.trigger === "change" && d.desired.artifact === deployed.artifact && d.desired.digest === deployed.digest)?.change;
  const runs = brought ? titles.get(brought) : undefined;
  const variables = Object.entries(deployed?.variables ?? {}).sort(([a], [b]) => a.localeCompare(b));
  const close = () => setDialog(undefined);
  return (
    <section className="card place" aria-label={name}>
      <header>
        <h2>{name} {environment && environment.class !== name && <span className="count">{environment.class}</span>}</h2>
        <State state={instance?.state ?? "new"} />
      </header>
      <div className="body stack">
        {instance?.reason && !(instance.pinnedBy && instance.state === "healthy") && <Note tone={instance.state === "degraded" ? "bad" : "quiet"}><p><Sentence text={instance.reason} /></p></Note>}
        {instance?.pinnedBy && (
          <Note tone="hold" icon={<IconPin size={15} className="ink-hold" aria-hidden />}>
            <p>Pinned: it was rolled back from <ChangeLink id={instance.pinnedBy} />, and later changes stop here until that is reverted or fixed, or main is deployed here again.</p>
          </Note>
        )}
        {instance?.outside?.map(({ variable, value, since }) => (
          <Note key={variable} tone="hold"><p><code>{variable}</code> = <code>{show(value)}</code> is outside its bounds since {day(since)}, when its waiver ended. The next change has to bring it back, or ask for another waiver.</p></Note>
        ))}
        <dl className="facts">
          {runs && <><dt>Runs</dt><dd><Link className="link" to="/changes/$change" params={{ change: runs.id }}>{runs.title}</Link></dd></>}
          <dt>Version</dt>
          <dd>{deployed ? <Link className="link tabular" to="/patterns/$pattern/$version" params={{ pattern: deployed.pattern, version: deployed.version }}>{deployed.version}</Link> : <span className="dim">not deployed yet</span>}
            {deployed && app.pattern.version && deployed.version !== app.pattern.version && <span className="ink-hold small"> main is on {app.pattern.version}</span>}
            {instance?.outdated && instance.outdated !== app.pattern.version && <span className="ink-hold small"> {instance.outdated} is recommended</span>}</dd>
          <dt>Artifact</dt>
          <dd><Id id={deployed?.artifact} /></dd>
          <dt>URL</dt>
          <dd>{instance?.url ? <a className="link" href={instance.url} target="_blank" rel="noreferrer">{instance.url.replace(/^https?:\/\//, "")}<IconExternalLink size={12} className="arrow" aria-hidden /><span className="hidden"> (new tab)</span></a> : <span className="dim">—</span>}</dd>
          {instance && <><dt>Updated</dt><dd><Time at={instance.updatedAt} /></dd></>}
        </dl>
        <div>
          <h3 className="sub">Variables</h3>
          {variables.length === 0 ? <p className="dim small">All at their defaults.</p> : (
            <dl className="facts vars">
              {variables.map(([key, value]) => [<dt key={`${key}-name`}><code>{key}</code></dt>, <dd key={key}><code>{show(value)}</code>{environment?.values && key in environment.values && <span className="dim small"> set by the environment</span>}</dd>])}
            </dl>
          )}
        </div>
        <WaiversOf waivers={app.waivers.filter((one) => one.environment === name)} />
        <History app={app.name} environment={name} />
      </div>
      {(can("deploy") || can("manage_secrets")) && (
        <footer className="line">
          {can("rollback") && <Button variant="default" leftSection={<IconArrowBackUp size={14} />} disabled={!deployed} onClick={() => setDialog("rollback")}>Roll back</Button>}
          {can("deploy") && environment && (
            <Confirm label="Redeploy" leftSection={<IconRefresh size={14} />} title={`Redeploy ${app.name} in ${name}`} go="Redeploy" act={() => redeploy(app.name, name)} done={`${app.name} is being deployed in ${name}.`}>
              <p>It is brought to what main describes again, for example after drift or a failure whose cause is gone.</p>
            </Confirm>
          )}
          <span className="push line">
            {can("manage_secrets") && <Button variant="subtle" color="gray" leftSection={<IconKey size={14} />} onClick={() => setDialog("secrets")}>Secrets</Button>}
            {can("remove_app") && environment && <More label={`More for ${name}`} items={[{ label: `Remove from ${name}`, icon: <IconTrash size={14} />, go: () => setDialog("remove") }]} />}
          </span>
        </footer>
      )}
      <Secrets app={app.name} environment={name} deploys={can("deploy") && !!environment && !!deployed} opened={dialog === "secrets"} close={close} />
      <RollBack app={app.name} environment={name} opened={dialog === "rollback"} close={close} />
      <Remove what={`${app.name} from ${name}`} name={app.name} opened={dialog === "remove"} close={close} act={() => removeEnvironment(app.name, name)} />
    </section>
  );
}

function History({ app, environment }: { app: string; environment: string }) {
  const query = useInfiniteQuery(deploymentsQuery({ app, environment }, 5));
  const titles = useTitles(app);
  const items = query.data ?? [];
  return (
    <div>
      <h3 className="sub line">Last deployments <Link className="link small push" to="/deployments" search={{ app, environment }}>All<span className="hidden"> deployments of {environment}</span></Link></h3>
      {query.data && items.length === 0 && <p className="dim small">None yet.</p>}
      <ul className="mini">
        {items.slice(0, 5).map((d) => (
          <li key={d.id}>
            <Link to="/deployments/$deployment" params={{ deployment: d.id }} title={`${word(d.state)}: ${d.reason ?? kindWords[d.kind]}`}>
              <StateIcon state={d.state} size={14} />
              <span className="hidden">{d.state}</span>
              <span className="clip"><span className="dim tabular">#{d.number}</span> {d.trigger === "change" ? titles.get(d.change ?? "")?.title ?? kindWords[d.kind] : d.trigger}</span>
              <span className="dim push nowrap"><Took from={d.startedAt} to={d.finishedAt} /></span>
              <span className="dim nowrap"><Time at={d.finishedAt ?? d.startedAt ?? d.createdAt} /></span>
            </Link>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The last changes of an app by their ids, from the list that the page shows anyway. */
function useTitles(app: string): Map<string, Change> {
  const query = useInfiniteQuery(changesQuery({ kind: "app", subject: app }, 10));
  return useMemo(() => new Map((query.data ?? []).map((change) => [change.id, change])), [query.data]);
}

function Changes({ app }: { app: string }) {
  const query = useInfiniteQuery(changesQuery({ kind: "app", subject: app }, 10));
  return (
    <Card title="Changes" flush aside={<Link className="link small" to="/changes" search={{ subject: app }}>All</Link>}>
      <Ask query={query}>
        {(items) => items.length === 0 ? <Empty title="No change yet">Push a branch to its repository, or change a variable.</Empty> : (
          <ul className="rows">{items.slice(0, 10).map((change) => <li key={change.id}><ChangeRow change={change} /></li>)}</ul>
        )}
      </Ask>
    </Card>
  );
}

function Seldom({ app, can }: { app: App; can: (permission: string) => boolean }) {
  const [dialog, setDialog] = useState<"give" | "remove">();
  const items = [
    ...(can("give_app") ? [{ label: "Give to another team", icon: <IconUsersGroup size={14} />, go: () => setDialog("give") }] : []),
    ...(can("remove_app") ? [{ label: "Remove the app", icon: <IconTrash size={14} />, go: () => setDialog("remove") }] : []),
  ];
  const close = () => setDialog(undefined);
  return (
    <>
      <More label="More" framed items={items} />
      <Give app={app.name} team={app.team} opened={dialog === "give"} close={close} />
      <Remove what={app.name} name={app.name} opened={dialog === "remove"} close={close} act={() => removeApp(app.name)} />
    </>
  );
}
