// What is moving, and what waits for somebody; for a new Flywheel, what to do first.
import { Button } from "@mantine/core";
import { IconArrowRight, IconCircleCheck, IconCircleDashed } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { HomeItem, Me } from "../../api/types";
import { Ask, Card, Empty, Page } from "../../ui/parts";
import { may, useMe } from "../account/queries";
import { appsQuery } from "../app/queries";
import { ChangeRow } from "../change/parts";
import { DeploymentRow } from "../deploy/parts";
import { deploymentsQuery } from "../deploy/queries";
import { patternsQuery } from "../pattern/queries";
import { homeQuery } from "./queries";


/** Whether the decision a thing waits for is one this person may take. */
export function forMe(item: HomeItem, me: Me | undefined): boolean {
  const { change, deployment } = item;
  if (change?.state === "review") return (me?.disciplines?.length ?? 0) > 0 && !change.authors?.includes(me?.id ?? "");
  if (change?.state === "held") return may(me, "release_hold", change.team ?? "");
  if (change?.state === "ready") return may(me, "merge", change.team ?? "");
  if (deployment) return Object.values(me?.mayInTeam ?? {}).some((list) => list.includes("release_hold"));
  return false;
}

export default function Home() {
  const me = useMe();
  const home = useQuery(homeQuery);
  const apps = useInfiniteQuery(appsQuery);
  const recent = useInfiniteQuery(deploymentsQuery({}, 8));
  const fresh = apps.data?.length === 0;
  return (
    <Page title="Home">
      {fresh && <FirstSteps />}
      <Ask query={home}>
        {({ moving, waiting }) => {
          const mine = waiting.filter((item) => forMe(item, me));
          const others = waiting.filter((item) => !forMe(item, me));
          return (
            <div className="columns">
              <div className="stack loose">
                {mine.length > 0 && <Card title="Waiting for you" count={mine.length} flush><Items items={mine} label="Waiting for you" /></Card>}
                <Card title="Moving" count={moving.length} flush>
                  {moving.length === 0 ? <Empty title="Nothing is moving">Push a branch of an app, or change a variable, and watch it roll out here.</Empty> : <Items items={moving} label="Moving" />}
                </Card>
              </div>
              <div className="stack loose">
                {(others.length > 0 || mine.length === 0) && <Card title={mine.length > 0 ? "Waiting for others" : "Waiting for a decision"} count={others.length} flush>
                  {others.length === 0 ? <Empty title="Nothing waits">What needs an approval, a merge or an operator shows here.</Empty> : <Items items={others} label="Waiting" />}
                </Card>}
                {!fresh && (
                  <Card title="Last deployments" flush aside={<Link to="/deployments" className="link small">All</Link>}>
                    <Ask query={recent}>
                      {(items) => items.length === 0 ? <Empty title="Nothing was deployed yet" /> : (
                        <ul className="rows">{items.slice(0, 8).map((d) => <li key={d.id}><DeploymentRow deployment={d} /></li>)}</ul>
                      )}
                    </Ask>
                  </Card>
                )}
              </div>
            </div>
          );
        }}
      </Ask>
    </Page>
  );
}

function Items({ items, label }: { items: HomeItem[]; label: string }) {
  return (
    <ul className="rows" aria-label={label}>
      {items.map(({ change, deployment }) => (
        <li key={change?.id ?? deployment?.id}>{change ? <ChangeRow change={change} /> : deployment ? <DeploymentRow deployment={deployment} /> : null}</li>
      ))}
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
