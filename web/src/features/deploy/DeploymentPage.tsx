import { TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";
import type { Deployment } from "../../api/types";
import { Confirm } from "../../ui/act";
import { Log } from "../../ui/Log";
import { Ask, Card, Id, Note, Page, Sentence, State, StateIcon, Time, toneOf, Took } from "../../ui/parts";
import { asPlan } from "../../ui/plan";
import { Moved, PlanSummary, PlanTree } from "../../ui/PlanTree";
import { duration, short, show, word } from "../../ui/text";
import { may, useMe } from "../account/queries";
import { appQuery } from "../app/queries";
import { Steps } from "./Live";
import { kindWords } from "./parts";
import { cancel, deploymentQuery, over, release } from "./queries";

const route = getRouteApi("/deployments/$deployment");

export default function DeploymentPage() {
  const { deployment: id } = route.useParams();
  const query = useQuery(deploymentQuery(id));
  const d = query.data;
  return (
    <Page
      title={d ? `#${d.number} ${d.app} in ${d.environment}` : "Deployment"} width="wide"
      heading={d && <>{d.app} <span className="dim">in</span> {d.environment} <span className="dim tabular">#{d.number}</span></>}
      crumbs={<><Link to="/deployments">Deployments</Link>{d && <>/ <Link to="/apps/$app" params={{ app: d.app }}>{d.app}</Link></>}</>}
      below={d && (
        <div className="line small dim">
          <State state={d.state} big />
          <span>{word(kindWords[d.kind])}{d.trigger !== "change" && `, ${d.trigger}`}</span>
          <Took from={d.startedAt} to={d.finishedAt} />
          <Id id={d.id} />
        </div>
      )}
      actions={d && <Actions deployment={d} />}
    >
      <Ask query={query}>{(d) => <Detail deployment={d} />}</Ask>
    </Page>
  );
}

function Actions({ deployment: d }: { deployment: Deployment }) {
  const me = useMe();
  const app = useQuery(appQuery(d.app));
  const team = app.data?.team ?? "";
  const [typed, setTyped] = useState("");
  if (over(d)) return null;
  return (
    <>
      {may(me, "deploy", team) && (
        <Confirm label="Cancel" title="Cancel this deployment" go="Ask it to stop" danger act={() => cancel(d.id)} done="The deployment was asked to stop.">
          <p>{d.state === "running" ? "It stops at the next safe point. What was applied by then stays." : "It has not begun, so it ends at once."}</p>
        </Confirm>
      )}
      {d.state === "held" && may(me, "release_hold", team) && (
        <Confirm label="Release" variant="filled" danger title="Release this plan" go="Release" ready={!!d.planDigest} act={() => release(d.id, d.planDigest ?? "", typed)} done="The deployment goes on.">
          {(problem) => (
            <>
              <p>You release the plan that this page shows, and nothing else.</p>
              <dl className="facts"><dt>Digest</dt><dd><Id id={d.planDigest} /></dd></dl>
              {(problem?.code === "release.confirm" || typed !== "") && <TextInput label="Name of the app" value={typed} onChange={(event) => setTyped(event.currentTarget.value)} spellCheck={false} autoCapitalize="none" />}
            </>
          )}
        </Confirm>
      )}
    </>
  );
}

function Detail({ deployment: d }: { deployment: Deployment }) {
  const plan = asPlan(d.plan);
  return (
    <>
      {d.reason && <Note tone={toneOf(d.state)} icon={<StateIcon state={d.state} size={16} />}><p><Sentence text={d.reason} /></p></Note>}
      {d.steps && d.steps.length > 0 && <section className="card" aria-label="Steps"><div className="body"><Steps steps={d.steps} /></div></section>}
      <div className="two">
        <div className="stack loose">
          {plan && <Card title="Plan" aside={<PlanSummary plan={plan} />}><PlanTree plan={plan} /></Card>}
          <Card title="Log" flush>{d.startedAt ? <Log path={`/deployments/${d.id}/log`} live={!over(d) && d.state !== "held"} label="Log" /> : <p className="pad dim">It has not begun.</p>}</Card>
          {d.evidence && d.evidence.length > 0 && (
            <Card title="Evidence" count={d.evidence.length} flush>
              <div className="scroll-x">
                <table className="table">
                  <thead><tr><th scope="col">Asked</th><th scope="col">Answer</th><th scope="col">Took</th><th scope="col">When</th></tr></thead>
                  <tbody>{d.evidence.map((probe, i) => <tr key={i}><td className="wrap"><code>{probe.url}</code></td><td>{probe.error ? <span className="ink-bad">{probe.error}</span> : <span className={probe.status && probe.status < 400 ? "ink-good" : "ink-bad"}>{probe.status}</span>}</td><td className="tabular nowrap">{duration(probe.milliseconds)}</td><td><Time at={probe.at} /></td></tr>)}</tbody>
                </table>
              </div>
            </Card>
          )}
        </div>
        <div className="stack loose">
          <Card title="What it brings"><Difference deployment={d} /></Card>
          <Card title="About">
            <dl className="facts">
              {d.change && <><dt>Change</dt><dd><Link className="link mono" to="/changes/$change" params={{ change: d.change }}>{d.change}</Link></dd></>}
              <dt>Kind</dt><dd>{kindWords[d.kind]}</dd>
              <dt>Trigger</dt><dd>{d.trigger}</dd>
              <dt>Created</dt><dd><Time at={d.createdAt} /></dd>
              {d.startedAt && <><dt>Started</dt><dd><Time at={d.startedAt} /></dd></>}
              {d.finishedAt && <><dt>Finished</dt><dd><Time at={d.finishedAt} /></dd></>}
              {d.planDigest && <><dt>Plan</dt><dd><Id id={d.planDigest} /></dd></>}
            </dl>
          </Card>
        </div>
      </div>
    </>
  );
}

/** The desired state against what ran before. */
function Difference({ deployment: { desired, previous } }: { deployment: Deployment }) {
  const before = previous.variables;
  const after = desired.variables;
  const version = (state: typeof desired) => (state.digest ? `${state.pattern} ${state.version}` : undefined);
  const same = (text?: string) => <span className="dim">{text}</span>;
  const pair = (old: string | undefined, next: string | undefined) => (old === next ? same(next ?? "—") : <Moved before={old} after={next} />);
  const artifact = (state: typeof desired) => (state.artifact ? short(state.artifact) : undefined);
  return (
    <dl className="facts">
      <dt>Pattern</dt><dd>{pair(version(previous), version(desired))}</dd>
      <dt>Artifact</dt><dd>{pair(artifact(previous), artifact(desired))}</dd>
      {[...new Set([...Object.keys(before), ...Object.keys(after)])].sort().map((name) => (
        [<dt key={`${name}-name`}><code>{name}</code></dt>, <dd key={name}>{pair(name in before ? show(before[name]) : undefined, name in after ? show(after[name]) : undefined)}</dd>]
      ))}
    </dl>
  );
}
