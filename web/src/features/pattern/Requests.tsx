// Wishes for patterns, in words: anybody asks, the Center of Excellence answers.
import { Select, Textarea, TextInput } from "@mantine/core";
import { IconChevronRight, IconPlus } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { lazy, Suspense, useState, type ReactNode } from "react";
import type { PatternRequest, RequestAnswer } from "../../api/types";
import { Confirm } from "../../ui/act";
import { Ask, Empty, Id, Page, Sentence, State, Time } from "../../ui/parts";
import { word } from "../../ui/text";
import { disciplines, may, useMe } from "../account/queries";
import { useForm } from "../app/form";
import { storiesQuery } from "../backlog/queries";
import { changesQuery } from "../change/queries";
import { answer, ask, patternsQuery, requestsQuery } from "./queries";

const Markdown = lazy(() => import("../../ui/Markdown"));
const route = getRouteApi("/pattern-requests");
const states = ["open", "accepted", "developing", "done", "declined"] as const;

export default function Requests() {
  const me = useMe();
  const { state, request } = route.useSearch();
  const query = useQuery(requestsQuery(state));
  return (
    <Page title="Pattern requests" crumbs={<Link to="/patterns">Patterns</Link>} actions={may(me, "request_pattern") && <AskFor />}>
      <nav className="pills" aria-label="State">
        <Link from="/pattern-requests" to="/pattern-requests" search={{}} className={`pill${state ? "" : " active"}`} activeOptions={{ exact: true }}>All</Link>
        {states.map((one) => <Link key={one} from="/pattern-requests" to="/pattern-requests" search={{ state: one }} className={`pill${state === one ? " active" : ""}`}>{word(one)}</Link>)}
      </nav>
      <Ask query={query}>
        {(items) => (
          <section className="card">
            {items.length === 0 ? <Empty title={state ? "No request is in that state" : "Nobody has asked for anything"}>Say in words what the patterns lack, and the Center of Excellence answers here.</Empty> : (
              <ul className="rows" aria-label="Requests">{items.map((one) => <li key={one.id}><One request={one} open={one.id === request} /></li>)}</ul>
            )}
          </section>
        )}
      </Ask>
    </Page>
  );
}

function One({ request, open: first }: { request: PatternRequest; open: boolean }) {
  const me = useMe();
  const [open, setOpen] = useState(first);
  const over = request.state === "done" || request.state === "declined";
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary className="request">
        <IconChevronRight size={14} className="chevron dim" aria-hidden />
        <span className="stack minimal"><span className="strong wrap">{request.title}</span><span className="dim small">{request.pattern ? `a change of ${request.pattern}` : "a new pattern"} · asked by {request.askedBy}{request.discipline && ` for ${request.discipline}`} · <Time at={request.createdAt} /></span></span>
        <State state={request.state} />
      </summary>
      {open && (
        <div className="request-body stack">
          {request.body && <Suspense fallback={<div className="skeleton" />}><Markdown text={request.body} /></Suspense>}
          <dl className="facts">
            {request.reason && <><dt>Answer</dt><dd><Sentence text={request.reason} /></dd></>}
            {request.pattern && <><dt>Pattern</dt><dd><Link className="link" to="/patterns/$pattern" params={{ pattern: request.pattern }}>{request.pattern}</Link></dd></>}
            {request.change && <><dt>Change</dt><dd><Link className="link mono" to="/changes/$change" params={{ change: request.change }}>{request.change}</Link></dd></>}
            {request.story && <><dt>Story</dt><dd><Link className="link" to="/changes" search={{ story: request.story }}>{request.story}</Link></dd></>}
            <dt>Id</dt><dd><Id id={request.id} /></dd>
          </dl>
          {!over && may(me, "decide_request") && (
            <div className="line">
              {request.state === "open" && <Answer request={request} state="accepted" label="Accept" done="The request is accepted."><p>The Center of Excellence will see to it.</p></Answer>}
              <Answer request={request} state={request.state === "open" || request.state === "accepted" ? "developing" : request.state} label={request.change ? "Change the link" : "Link a change"} link done="The request is linked."><p>Its pattern change fulfils it: when that is published, the request is done.</p></Answer>
              <Answer request={request} state="done" label="Done" done="The request is done."><p>It is fulfilled without a change, or the change was published already.</p></Answer>
              <Answer request={request} state="declined" label="Decline" danger done="The request is declined."><p>{request.askedBy} reads the reason.</p></Answer>
            </div>
          )}
        </div>
      )}
    </details>
  );
}

function Answer({ request, state, label, link, danger, done, children }: { request: PatternRequest; state: string; label: string; link?: boolean; danger?: boolean; done: string; children: ReactNode }) {
  const first = { reason: "", change: request.change ?? "", story: request.story ?? "" };
  const { values, set } = useForm(first);
  const ready = danger ? values.reason.trim() !== "" : !link || values.change !== "" || values.story !== "";
  const body: RequestAnswer = { state: state as RequestAnswer["state"], reason: values.reason || undefined, ...(link ? { change: values.change || undefined, story: values.story || undefined } : {}) };
  return (
    <Confirm label={label} title={`${label}: ${request.title}`} go={label} danger={danger} ready={ready} begin={() => set(first)} act={() => answer(request.id, body)} done={done}>
      {children}
      {link && <Links values={values} set={set} pattern={request.pattern} />}
      <Textarea label={danger ? "Why" : "What you answer"} data-autofocus={!link || undefined} value={values.reason} onChange={(event) => set({ reason: event.currentTarget.value })} autosize minRows={2} maxLength={4000} />
    </Confirm>
  );
}

function Links({ values, set, pattern }: { values: { change: string; story: string }; set: (part: { change?: string; story?: string }) => void; pattern?: string }) {
  const changes = useInfiniteQuery(changesQuery({ kind: "pattern", subject: pattern }, 50));
  return (
    <>
      <Select label="Pattern change" placeholder="chg_…" searchable clearable data={(changes.data ?? []).map(({ id, title, subject }) => ({ value: id, label: `${subject}: ${title}` }))} value={values.change || null} onChange={(change) => set({ change: change ?? "" })} />
      <Stories value={values.story} onChange={(story) => set({ story })} />
    </>
  );
}

function Stories({ value, onChange }: { value: string; onChange: (story: string) => void }) {
  const stories = useInfiniteQuery(storiesQuery);
  return <Select label="Story" placeholder="the story it is needed for" searchable clearable data={(stories.data ?? []).map(({ key, title }) => ({ value: key, label: `${key} ${title}` }))} value={value || null} onChange={(story) => onChange(story ?? "")} />;
}

/** The form in which anybody asks. */
export function AskFor({ pattern = "" }: { pattern?: string }) {
  const first = { title: "", body: "", pattern, story: "", discipline: "" };
  const { values, set } = useForm(first);
  const patterns = useQuery(patternsQuery);
  return (
    <Confirm label={pattern ? "Ask for a change" : "Ask for a pattern"} variant={pattern ? "default" : "filled"} leftSection={<IconPlus size={15} />} title={pattern ? `Ask for a change of ${pattern}` : "Ask for a pattern, or a change to one"} go="Ask" ready={values.title.trim() !== ""} begin={() => set(first)} done="The Center of Excellence has your request."
      act={() => ask({ title: values.title, body: values.body || undefined, pattern: values.pattern || undefined, story: values.story || undefined, discipline: (values.discipline || undefined) as "security" | undefined })}>
      {(problem) => (
        <>
          <TextInput label="What is needed" placeholder="Search near a place" required withAsterisk={false} data-autofocus value={values.title} maxLength={200} onChange={(event) => set({ title: event.currentTarget.value })} error={problem?.field("title")} />
          <Textarea label="Why, and what it must do" description="Markdown" value={values.body} onChange={(event) => set({ body: event.currentTarget.value })} autosize minRows={3} maxRows={12} maxLength={20000} error={problem?.field("body")} />
          {!pattern && <Select label="Pattern" description="Leave it out for a new one" clearable searchable data={(patterns.data ?? []).map(({ name }) => name)} value={values.pattern || null} onChange={(next) => set({ pattern: next ?? "" })} error={problem?.field("pattern")} />}
          <Stories value={values.story} onChange={(story) => set({ story })} />
          <Select label="Asked for" description="A discipline that needs it, if one does" clearable data={disciplines.map((one) => ({ value: one, label: word(one) }))} value={values.discipline || null} onChange={(next) => set({ discipline: next ?? "" })} />
        </>
      )}
    </Confirm>
  );
}
