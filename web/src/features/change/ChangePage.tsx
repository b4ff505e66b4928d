// One page to decide: what the change is, why it takes its lane, what it would do, and what is missing.
import { Button } from "@mantine/core";
import { IconGitBranch } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import type { Change, ChangeDetail, Check } from "../../api/types";
import { Ask, Card, Id, LaneTag, laneMeaning, Note, Page, Sentence, State, StateIcon, stateOf, Time, toneOf } from "../../ui/parts";
import { asPlan } from "../../ui/plan";
import { PlanSummary, PlanTree } from "../../ui/PlanTree";
import { prose, word } from "../../ui/text";
import { may, useMe } from "../account/queries";
import { AskForWaiver } from "../app/Waivers";
import { Live } from "../deploy/Live";
import { Actions, Approvals } from "./Decide";
import { Checks } from "./Checks";
import { changeQuery, checkQuery, diffQuery, effectQuery, effectsQuery, eventsQuery, wholePatch } from "./queries";
import { ChangeLink } from "./parts";
import { moments } from "./timeline";
import { way } from "./way";

const Diff = lazy(() => import("../../ui/Diff").then(({ Diff }) => ({ default: Diff })));
const route = getRouteApi("/changes/$change");

export default function ChangePage() {
  const { change: id } = route.useParams();
  const query = useQuery(changeQuery(id));
  const change = query.data?.change;
  return (
    <Page
      title={change?.title ?? "Change"} width="wide"
      crumbs={<><Link to="/changes">Changes</Link>{change && <>/ {change.kind === "app" ? <Link to="/apps/$app" params={{ app: change.subject }}>{change.subject}</Link> : <Link to="/patterns/$pattern" params={{ pattern: change.subject }}>{change.subject}</Link>}</>}</>}
      below={change && (
        <div className="line small dim">
          <State state={stateOf(change)} big />
          <LaneTag lane={change.lane} big />
          {change.reasons.some(({ breaking }) => breaking) && <span className="tag tone-bad">breaking</span>}
          <span className="line gap-4"><IconGitBranch size={14} aria-hidden /><code>{change.branch}</code></span>
          <Id id={change.id} />
          <span>updated <Time at={change.updatedAt} /></span>
        </div>
      )}
      actions={query.data && <Actions detail={query.data} />}
    >
      <Ask query={query}>{(detail) => <Decide detail={detail} />}</Ask>
    </Page>
  );
}

// States in which the page has the buttons that the remedy names as commands.
const acts = new Set(["review", "held", "ready"]);

function Decide({ detail }: { detail: ChangeDetail }) {
  const { change, certification } = detail;
  const checks = detail.checks;
  const deployments = detail.deployments;
  const reasons = change.reasons;
  const me = useMe();
  const outside = change.state === "refused" ? reasons.filter(({ environment, variable, value }) => environment && variable && value !== undefined) : [];
  const mayAsk = outside.length > 0 && may(me, "change_variables", change.team ?? "");
  const plans = checks.filter(({ name, detail, detailSize }) => asPlan(detail) || (detailSize && name.startsWith("plan: ")));
  const rollout = deployments.length > 0 && (
    <Card title="Deployments" count={deployments.length} flush>
      {[...deployments].sort((a, b) => a.createdAt.localeCompare(b.createdAt)).map((d) => <Live key={d.id} deployment={d} />)}
    </Card>
  );
  return (
    <>
      {(change.why || change.remedy) && (
        <Note tone={toneOf(stateOf(change))} icon={<StateIcon state={stateOf(change)} size={16} />}>
          {change.why && <p><Sentence text={change.why} /></p>}
          {change.remedy && !acts.has(change.state) && <p className="dim"><Sentence text={change.remedy} /></p>}
          {mayAsk && <div className="line">{outside.map(({ environment, variable, value, text }) => <AskForWaiver key={text} app={change.subject} environment={environment!} variable={variable!} value={value} bound={text} />)}</div>}
        </Note>
      )}
      <ol className="way" aria-label="Way of the change">
        {way(detail).map(({ name, state, note }, i) => (
          <li key={`${i} ${name}`} className={state === "pending" ? "dim" : undefined}>
            <StateIcon state={state} size={16} />
            <span className="strong">{name}</span><span className="hidden">: {word(state)}</span>
            {note && <span className="dim small">{note.replaceAll("_", " ")}</span>}
          </li>
        ))}
      </ol>
      <div className="two">
        <div className="stack loose">
          <Card title={change.lane ? "Why this lane" : change.state === "refused" ? "Why it is refused" : "What it does"} aside={change.lane ? <span className="dim small wide-only">{reasons.some(({ held }) => held) || change.state === "held" ? "Held: somebody releases it, who has seen what it does." : laneMeaning(change.lane)}</span> : undefined}>
            {reasons.length === 0 ? <p className="dim">{change.kind === "pattern" ? "The source of a pattern differs, so the Center of Excellence decides." : "Its lane is being found."}</p> : (
              <ul className="reasons">{reasons.map((reason, i) => <li key={i} className={reason.breaking ? "ink-bad" : undefined}><Sentence text={reason.text} /></li>)}</ul>
            )}
            {prose(change.body) && <p className="body-text dim">{prose(change.body)}</p>}
          </Card>
          {certification && <Effects detail={detail} />}
          {rollout}
          {plans.length > 0 && (
            <Card title="Plan">
              <div className="stack loose">
                {plans.map((check) => (
                  <div key={check.id} className="stack tight">
                    <h3 className="line">{check.name.replace(/^plan: /, "")} {asPlan(check.detail) ? <PlanSummary plan={asPlan(check.detail)!} /> : <span className="dim small">{check.summary}</span>}</h3>
                    {asPlan(check.detail) ? <PlanTree plan={asPlan(check.detail)!} /> : <LargePlan change={change.id} check={check} />}
                  </div>
                ))}
              </div>
            </Card>
          )}
          <Checks change={change} checks={checks} />
        </div>
        <div className="stack loose">
          {certification && <Approvals change={change} certification={certification} mayDecide={detail.mayDecide} />}
          <Facts change={change} />
          <Timeline detail={detail} />
        </div>
      </div>
      <Files change={change} />
    </>
  );
}

/** A plan that is too large to come with the change, when somebody asks for it. */
function LargePlan({ change, check }: { change: string; check: Check }) {
  const [asked, setAsked] = useState(false);
  const query = useQuery({ ...checkQuery(change, check.name, check.id), enabled: asked });
  if (!asked) return <p className="line dim small">{Math.ceil((check.detailSize ?? 0) / 1e6)} MB <Button size="xs" variant="default" onClick={() => setAsked(true)}>Show the plan</Button></p>;
  return <Ask query={query} rows={3}>{({ detail }) => { const plan = asPlan(detail); return plan ? <PlanTree plan={plan} /> : <p className="dim">There is no plan.</p>; }}</Ask>;
}

function Files({ change }: { change: Change }) {
  const query = useQuery(diffQuery(change.id, `${change.head} ${change.revision}`));
  return (
    <Card title="Files">
      <Suspense fallback={<div className="skeleton" />}>
        <Ask query={query} rows={2}>{(files) => files.length === 0 ? <p className="dim">It does nothing to main.</p> : <Diff files={files} whole={(file) => wholePatch(change.id, file)} />}</Ask>
      </Suspense>
    </Card>
  );
}

/** What a new pattern version would do to every live instance. */
function Effects({ detail }: { detail: ChangeDetail }) {
  const { bump, version, reasons, instances: first, radius, digest } = detail.certification!;
  const [opened, setOpened] = useState<string>();
  const [all, setAll] = useState(false);
  const query = useInfiniteQuery({ ...effectsQuery(detail.change.id, digest), enabled: all });
  const instances = query.data ?? first;
  // A reader who does not see every team has fewer than there are.
  const more = all ? query.hasNextPage : first.length >= 50 && first.length < radius.instances;
  return (
    <Card title={<>Version {version}</>} aside={<span className={`tag ${bump === "major" ? "tone-bad" : bump === "minor" ? "tone-busy" : "tone-quiet"}`}>{bump}</span>} flush>
      <div className="pad"><ul className="reasons">{reasons.map((reason) => <li key={reason}><Sentence text={reason} /></li>)}</ul></div>
      {radius.instances === 0 ? <p className="pad dim">No live instance runs this pattern, so nothing running is affected.</p> : (
        <>
          <h3 className="pad line">Effect on {radius.instances === 1 ? "the live instance" : `${radius.instances} live instances`} {radius.breaking > 0 ? <span className="ink-bad">{radius.breaking} breaking</span> : <span className="ink-good">none breaking</span>} {radius.planned < radius.instances && <span className="dim small">planned {radius.planned} of {radius.instances}</span>}</h3>
          <p className="pad dim small line">{Object.entries(radius.outcomes).map(([outcome, n]) => <span key={outcome}>{n} {outcome.replaceAll("_", " ")}</span>)}</p>
          {radius.breaking > 0 && <p className="pad dim small line">Breaking: {[...radius.classes, ...radius.teams].filter((one) => one.breaking > 0).map((one) => <span key={one.name}>{one.breaking} of {one.instances} in {one.name}</span>)}</p>}
          <div className="scroll-x">
            <table className="table effects">
              <thead><tr><th scope="col">Instance</th><th scope="col">Now on</th><th scope="col">What it would do</th><th scope="col"><span className="hidden">Plan</span></th></tr></thead>
              <tbody>
                {instances.map((instance) => {
                  const key = `${instance.app} ${instance.environment}`;
                  return [
                    <tr key={key}>
                      <td className="nowrap"><Link className="link" to="/apps/$app" params={{ app: instance.app }}>{instance.app}</Link> <span className="dim">in</span> {instance.environment}</td>
                      <td className="tabular">{instance.version}</td>
                      <td>
                        {instance.error ? <span className="ink-bad">{instance.error}</span> : instance.summary}
                        {instance.breaking && <p className="ink-bad small">breaking{instance.destructive?.length ? <>: destroys or replaces {instance.destructive.map((address) => <code key={address}> {address}</code>)}</> : null}</p>}
                        {instance.outOfBounds && instance.outOfBounds.length > 0 && <p className="ink-hold small">outside the new bounds: {instance.outOfBounds.join(", ")}</p>}
                      </td>
                      <td>{instance.planDigest && <Button variant="subtle" color="gray" size="compact-xs" aria-expanded={opened === key} onClick={() => setOpened(opened === key ? undefined : key)}>Plan</Button>}</td>
                    </tr>,
                    opened === key && <tr key={`${key} plan`}><td colSpan={4}><EffectPlan change={detail.change.id} {...instance} digest={instance.planDigest ?? ""} /></td></tr>,
                  ];
                })}
              </tbody>
            </table>
          </div>
          {more && <p className="pad"><Button variant="subtle" size="compact-xs" loading={query.isFetching} onClick={() => { if (all) void query.fetchNextPage(); else setAll(true); }}>More instances</Button></p>}
        </>
      )}
    </Card>
  );
}

/** The plan of one instance on the new version, fetched when somebody looks. */
function EffectPlan({ change, app, environment, digest }: { change: string; app: string; environment: string; digest: string }) {
  const query = useQuery(effectQuery(change, app, environment, digest));
  return <Ask query={query} rows={2}>{(effect) => { const plan = asPlan(effect.plan); return plan ? <PlanTree plan={plan} /> : <p className="dim">There is no plan.</p>; }}</Ask>;
}

function Facts({ change }: { change: Change }) {
  const reference = (label: string, id?: string) => id && <><dt>{label}</dt><dd><ChangeLink id={id} /></dd></>;
  return (
    <Card title="About">
      <dl className="facts">
        {change.kind === "app"
          ? <><dt>App</dt><dd><Link className="link" to="/apps/$app" params={{ app: change.subject }}>{change.subject}</Link></dd></>
          : <><dt>Pattern</dt><dd><Link className="link" to="/patterns/$pattern" params={{ pattern: change.subject }}>{change.subject}</Link></dd></>}
        {change.team && <><dt>Team</dt><dd><Link className="link" to="/teams/$team" params={{ team: change.team }}>{change.team}</Link></dd></>}
        {change.story && <><dt>Story</dt><dd><Link className="link mono" to="/changes" search={{ story: change.story }}>{change.story}</Link></dd></>}
        {reference(change.state === "waiting" || change.state === "blocked" ? "Waits for" : "Needs", change.needs)}
        {reference("Takes back", change.reverts)}
        {reference("Taken back by", change.revert)}
        {reference("Fixes", change.fixForward)}
        <dt>Head</dt><dd><Id id={change.head} /></dd>
        {change.main && <><dt>Main</dt><dd><Id id={change.main} /></dd></>}
        {change.merged && <><dt>Merged as</dt><dd><Id id={change.merged} /></dd></>}
        <dt>Revision</dt><dd className="tabular">{change.revision}</dd>
        <dt>Opened</dt><dd><Time at={change.openedAt} /></dd>
      </dl>
    </Card>
  );
}

/** What happened, from the event log, as it happens. */
function Timeline({ detail: { change, deployments } }: { detail: ChangeDetail }) {
  const query = useInfiniteQuery(eventsQuery([change.id, ...deployments.slice(0, 19).map(({ id }) => id)]));
  return (
    <Card title="Timeline">
      <Ask query={query} rows={3}>
        {(events) => (
          <>
            {query.hasNextPage && <Button variant="subtle" size="compact-xs" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>Earlier</Button>}
            <ol className="timeline" aria-label="Timeline">
              {moments(events).map(({ id, at, state, text, by, note, strong }) => (
                <li key={id}>
                  <StateIcon state={state} size={14} />
                  <span className={strong ? "strong" : undefined}>{by && <span className="strong">{by} </span>}{by ? text.charAt(0).toLowerCase() + text.slice(1) : text}{note && <span className="dim small note-text" title={note}>{note}</span>}</span>
                  <span className="dim small push"><Time at={at} /></span>
                </li>
              ))}
            </ol>
          </>
        )}
      </Ask>
    </Card>
  );
}
