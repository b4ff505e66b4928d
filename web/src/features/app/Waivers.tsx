// Values outside their bounds that are accepted until a date: a team asks, the Center of Excellence decides.
import { Button, Select, Textarea, TextInput } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import type { Waiver } from "../../api/types";
import { Confirm } from "../../ui/act";
import { Ask, Empty, Id, Page, Sentence, State, Time } from "../../ui/parts";
import { show, word } from "../../ui/text";
import { may, useMe } from "../account/queries";
import { useForm } from "./form";
import { askWaiver, declineWaiver, environmentsQuery, grantWaiver, revokeWaiver, waiversQuery } from "./queries";

const route = getRouteApi("/waivers");
const states = ["requested", "granted", "ended", "declined", "revoked"] as const;

export default function Waivers() {
  const { state, app, environment } = route.useSearch();
  const navigate = route.useNavigate();
  const environments = useQuery(environmentsQuery);
  const query = useInfiniteQuery(waiversQuery({ state, app, environment }));
  return (
    <Page title={app ? `Waivers of ${app}` : "Waivers"} below={<p className="dim">Values outside their bounds that the Center of Excellence accepts until a date.</p>}>
      <div className="filters">
        <nav className="pills" aria-label="State">
          <Link from="/waivers" to="/waivers" search={(old) => ({ ...old, state: undefined })} className={`pill${state ? "" : " active"}`} activeOptions={{ exact: true }}>All</Link>
          {states.map((one) => <Link key={one} from="/waivers" to="/waivers" search={(old) => ({ ...old, state: one })} className={`pill${state === one ? " active" : ""}`}>{word(one)}</Link>)}
        </nav>
        <Select aria-label="Environment" placeholder="Every environment" size="xs" clearable className="filter" data={environments.data?.map(({ name }) => name) ?? []} value={environment ?? null}
          onChange={(next) => void navigate({ search: (old) => ({ ...old, environment: next ?? undefined }), replace: true })} />
        {app && <Link from="/waivers" to="/waivers" search={(old) => ({ ...old, app: undefined })} className="link small">Show all apps</Link>}
      </div>
      <Ask query={query}>
        {(items) => (
          <section className="card">
            {items.length === 0 ? <Empty title={state || environment || app ? "No waiver matches" : "Nobody has asked for a waiver"}>A value outside its bounds is refused; from there a team asks that it be accepted until a date.</Empty> : (
              <ul className="rows" aria-label="Waivers">{items.map((one) => <li key={one.id}><One waiver={one} /></li>)}</ul>
            )}
            {query.hasNextPage && <Button variant="subtle" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>More</Button>}
          </section>
        )}
      </Ask>
    </Page>
  );
}

/** How a waiver stands, in a word: that a granted one has ended is not a state of its own. */
export const standing = (waiver: Waiver) => (waiver.state === "granted" && !waiver.inForce ? "ended" : waiver.state);

function One({ waiver }: { waiver: Waiver }) {
  return (
    <div className="request-body stack">
      <p className="line"><strong><Link className="link" to="/apps/$app" params={{ app: waiver.app }}>{waiver.app}</Link> <code>{waiver.environment}.{waiver.variable} = {show(waiver.value)}</code></strong><span className="push"><State state={standing(waiver)} /></span></p>
      <dl className="facts">
        <dt>Bound</dt><dd><Sentence text={waiver.bound} /></dd>
        <dt>Why</dt><dd><Sentence text={waiver.reason} /></dd>
        <dt>Asked</dt><dd>by {waiver.askedBy}, <Time at={waiver.createdAt} /></dd>
        {waiver.until && <><dt>End date</dt><dd>{day(waiver.until)}{waiver.state === "requested" && " asked for"}</dd></>}
        {waiver.decidedBy && <><dt>Decided</dt><dd>by {waiver.decidedBy}{waiver.decision && <>: <Sentence text={waiver.decision} /></>}</dd></>}
        <dt>Id</dt><dd><Id id={waiver.id} /></dd>
      </dl>
      <Decide waiver={waiver} />
    </div>
  );
}

/** What the Center of Excellence can do. Who asked does not grant; the server says so to others. */
function Decide({ waiver }: { waiver: Waiver }) {
  const me = useMe();
  const first = { until: waiver.until?.slice(0, 10) ?? "", reason: "" };
  const { values, set } = useForm(first);
  if (!may(me, "grant_waiver")) return null;
  const what = `${waiver.app} ${waiver.environment}.${waiver.variable} = ${show(waiver.value)}`;
  const begin = () => set(first);
  const why = (label: string) => <Textarea label={label} value={values.reason} onChange={(event) => set({ reason: event.currentTarget.value })} autosize minRows={2} maxLength={2000} />;
  if (waiver.state === "requested") {
    return (
      <div className="line">
        {waiver.askedBy === me?.name ? <span className="dim small">You asked for it, so somebody else grants it.</span> : (
          <Confirm label="Grant" variant="filled" title={`Grant ${what}`} go="Grant" ready={values.until !== ""} begin={begin} act={() => grantWaiver(waiver.id, endOf(values.until), values.reason)} done="The value is accepted until its end date.">
            {(problem) => (
              <>
                <p>Changes that were refused for it go on by themselves.</p>
                <TextInput type="date" label="Last day" description="At most a year from now" required withAsterisk={false} value={values.until} onChange={(event) => set({ until: event.currentTarget.value })} error={problem?.field("until")} />
                {why("What you answer")}
              </>
            )}
          </Confirm>
        )}
        <Confirm label="Decline" danger title={`Decline ${what}`} go="Decline" ready={values.reason.trim() !== ""} begin={begin} act={() => declineWaiver(waiver.id, values.reason)} done="The waiver is declined.">{why("Why")}</Confirm>
      </div>
    );
  }
  if (!waiver.inForce) return null;
  return (
    <div className="line">
      <Confirm label="Revoke" danger title={`Revoke ${what}`} go="Revoke" ready={values.reason.trim() !== ""} begin={begin} act={() => revokeWaiver(waiver.id, values.reason)} done="The waiver is revoked.">
        <p>What runs is left alone; the next change that keeps the value is refused.</p>
        {why("Why")}
      </Confirm>
    </div>
  );
}

/** The form in which a team asks that one value be accepted. */
export function AskForWaiver({ app, environment, variable, value, bound }: { app: string; environment: string; variable: string; value: unknown; bound?: string }) {
  const first = { reason: "", until: "" };
  const { values, set } = useForm(first);
  return (
    <Confirm label="Ask for a waiver" title={`Ask for ${environment}.${variable} = ${show(value)}`} go="Ask" ready={values.reason.trim() !== ""} begin={() => set(first)} done="The Center of Excellence has your request."
      act={() => askWaiver({ app, environment, variable, value, reason: values.reason, until: values.until ? endOf(values.until) : undefined })}>
      {(problem) => (
        <>
          {bound && <p className="dim"><Sentence text={bound} /></p>}
          <Textarea label="Why no value inside the bounds will do" required withAsterisk={false} data-autofocus value={values.reason} onChange={(event) => set({ reason: event.currentTarget.value })} autosize minRows={2} maxLength={2000} error={problem?.field("reason")} />
          <TextInput type="date" label="Last day it is needed" description="Who grants it sets the end date" value={values.until} onChange={(event) => set({ until: event.currentTarget.value })} error={problem?.field("until")} />
        </>
      )}
    </Confirm>
  );
}

/** The waivers of one environment, on the page of its app. */
export function WaiversOf({ waivers }: { waivers: Waiver[] }) {
  if (waivers.length === 0) return null;
  return (
    <div>
      <h3 className="sub">Waivers</h3>
      <ul className="mini">
        {waivers.map((one) => (
          <li key={one.id} className="line">
            <code>{one.variable} = {show(one.value)}</code>
            <State state={standing(one)} />
            {one.until && <span className="dim small push">{one.inForce ? "until" : one.state === "requested" ? "asked until" : "was until"} {day(one.until)}</span>}
          </li>
        ))}
      </ul>
    </div>
  );
}

export const day = (at: string) => new Date(at).toLocaleDateString(undefined, { dateStyle: "medium" });

/** The last second of a day, as the reader's clock has it. */
const endOf = (date: string) => new Date(`${date}T23:59:59`).toISOString();
