// What is moving, and what waits for somebody; for a new Flywheel, what to do first.
import { Button } from "@mantine/core";
import { IconArrowRight, IconCircleCheck, IconCircleDashed } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo, type ReactNode } from "react";
import type { App, HomeItem } from "../../api/types";
import { Ask, Card, Empty, Page } from "../../ui/parts";
import { show } from "../../ui/text";
import { may, useMe } from "../account/queries";
import { Instances } from "../app/Instances";
import { appsQuery } from "../app/queries";
import { ChangeRow } from "../change/parts";
import { changesQuery } from "../change/queries";
import { DeploymentRow } from "../deploy/parts";
import { deploymentsQuery } from "../deploy/queries";
import { patternsQuery } from "../pattern/queries";
import { homeQuery } from "./queries";


export default function Home() {
  const home = useQuery(homeQuery);
  const apps = useInfiniteQuery(appsQuery);
  const recent = useInfiniteQuery(deploymentsQuery({}, 8));
  const changes = useInfiniteQuery(changesQuery({ kind: "app" }, 30));
  const titles = useMemo(() => new Map((changes.data ?? []).map(({ id, title }) => [id, title])), [changes.data]);
  const fresh = apps.data?.length === 0;
  return (
    <Page title="Home" width="wide">
      {fresh && <FirstSteps />}
      <Ask query={home}>
        {({ mine, waiting, moving }) => (
          <div className="columns">
            <div className="stack loose">
              <Card title="Waiting for you" count={mine.length} flush>
                {mine.length === 0 ? <p className="pad calm"><IconCircleCheck size={16} className="ink-good" aria-hidden />Nothing waits for you.</p> : <Items items={mine} label="Waiting for you" />}
              </Card>
              <Card title="Moving" count={moving.length} flush>
                {moving.length === 0 ? <p className="pad calm dim">Push a branch of an app, or change a variable, and watch it roll out here.</p> : <Items items={moving} label="Moving" />}
              </Card>
              {waiting.length > 0 && <Card title="Waiting for others" count={waiting.length} flush><Items items={waiting} label="Waiting for others" /></Card>}
            </div>
            {!fresh && (
              <div className="stack loose">
                <Card title="Apps" count={apps.data?.length} flush aside={<Link to="/apps" className="link small">All</Link>}>
                  <Ask query={apps} rows={2}>{(items) => <ul className="rows" aria-label="Apps">{[...items].sort((a, b) => trouble(b) - trouble(a)).slice(0, 6).map((app) => <li key={app.id}><AppLine app={app} /></li>)}</ul>}</Ask>
                </Card>
                <Card title="Last deployments" flush aside={<Link to="/deployments" className="link small">All</Link>}>
                  <Ask query={recent}>
                    {(items) => items.length === 0 ? <Empty title="Nothing was deployed yet" /> : (
                      <ul className="rows">{items.slice(0, 8).map((d) => <li key={d.id}><DeploymentRow deployment={d} title={titles.get(d.change ?? "")} /></li>)}</ul>
                    )}
                  </Ask>
                </Card>
              </div>
            )}
          </div>
        )}
      </Ask>
    </Page>
  );
}

/** How much an app asks to be looked at: degraded before moving before calm. */
function trouble(app: App): number {
  return Math.max(0, ...app.instances.map(({ state, pinnedBy }) => (state === "degraded" ? 3 : pinnedBy ? 2 : state === "deploying" ? 1 : 0)));
}

function AppLine({ app }: { app: App }) {
  return (
    <Link to="/apps/$app" params={{ app: app.name }} className="row-link row-plain">
      <span className="stack minimal"><span className="strong clip">{app.name}</span><span className="dim small clip">{app.team} · {app.pattern.name} {app.pattern.version}</span></span>
      <Instances app={app} />
    </Link>
  );
}

const verbs = { approve: "Approve", release: "Release", merge: "Merge", correct: "Correct", answer: "Answer", grant: "Decide" } as const;

function Items({ items, label }: { items: HomeItem[]; label: string }) {
  return (
    <ul className="rows" aria-label={label}>
      {items.map((item) => {
        const { change, deployment, request, waiver, awaits, disciplines } = item;
        const verb = awaits && <span className="tag tone-busy verb">{verbs[awaits]}{disciplines?.length ? ` for ${disciplines.join(" or ")}` : ""}</span>;
        return (
          <li key={change?.id ?? deployment?.id ?? request?.id ?? waiver?.id}>
            {change ? <ChangeRow change={change} verb={verb} /> : deployment ? <DeploymentRow deployment={deployment} verb={verb} /> : request ? (
              <Link to="/pattern-requests" search={{ request: request.id }} className="row-link row-plain">
                <span className="stack minimal"><span className="strong clip">{request.title}</span><span className="dim small clip">{request.askedBy} asks for {request.pattern ? `a change of ${request.pattern}` : "a new pattern"}</span></span>
                {verb}
              </Link>
            ) : waiver ? (
              <Link to="/waivers" search={{ state: "requested", app: waiver.app }} className="row-link row-plain">
                <span className="stack minimal"><span className="strong clip">{waiver.app} <code>{waiver.environment}.{waiver.variable} = {show(waiver.value)}</code></span><span className="dim small clip">{waiver.askedBy} asks for a waiver · {waiver.reason}</span></span>
                {verb}
              </Link>
            ) : null}
          </li>
        );
      })}
    </ul>
  );
}

/** The three first steps, each with what does it, ticked as they are done. */
export function FirstSteps() {
  const me = useMe();
  const patterns = useQuery(patternsQuery);
  const apps = useInfiniteQuery(appsQuery);
  const certified = patterns.data?.some((pattern) => pattern.recommended);
  const app = apps.data?.[0];
  const deployed = app?.instances.some((instance) => instance.state === "healthy");
  const steps: { done: boolean; title: string; text: ReactNode; action: ReactNode }[] = [
    {
      done: !!certified, title: "Have a certified pattern",
      text: <>A pattern is an OpenTofu or Terraform module with bounds. Push one to the catalogue with <code className="word">flywheel pattern create</code>, and the Center of Excellence certifies it.</>,
      action: <Button variant="default" component={Link} to="/patterns">Patterns</Button>,
    },
    {
      done: !!app, title: "Create an app from it",
      text: "Its repository is made from the pattern's skeleton, and it is deployed in every environment you choose.",
      action: <Button component={Link} to="/apps/new" disabled={!certified && !may(me, "create_app")}>Create an app</Button>,
    },
    {
      done: !!deployed, title: "Push a change",
      text: app
        ? <>Clone it with <code className="word">git clone {app.repository}</code>, push a branch, and the change finds its own lane.</>
        : "Clone its repository, push a branch, and the change finds its own lane.",
      action: <Button variant="default" component={Link} to="/changes">Changes</Button>,
    },
  ];
  const next = steps.findIndex((step) => !step.done);
  return (
    <section className="card" aria-label="First steps">
      <header><h2>Three steps to the first deployment</h2></header>
      <ol className="steps-first">
        {steps.map((step, i) => (
          <li key={step.title} className={i === next ? "next" : undefined}>
            {step.done ? <IconCircleCheck size={18} className="ink-good" aria-label="Done" /> : i === next ? <IconArrowRight size={18} className="ink-busy" aria-label="Next" /> : <IconCircleDashed size={18} className="dim" aria-hidden />}
            <div className="stack tight"><strong>{step.title}</strong><p className="dim">{step.text}</p></div>
            {step.action}
          </li>
        ))}
      </ol>
    </section>
  );
}
