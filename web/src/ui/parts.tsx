// The small parts all pages are made of.
import { Button } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import {
  IconAlertTriangle, IconAdjustmentsHorizontal, IconBlocks, IconBolt, IconCheck, IconCircleCheck, IconCircleDashed, IconCircleMinus,
  IconCircleX, IconClock, IconCopy, IconGitMerge, IconHandStop, IconLoader2, IconArrowBackUp,
} from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { Fragment, useEffect, useState, useSyncExternalStore, type ReactNode } from "react";
import { Problem } from "../api/client";
import type { Lane } from "../api/types";
import { duration, relative, sentence, short, word } from "./text";

export type Tone = "good" | "busy" | "hold" | "bad" | "quiet";

const looks: Record<string, [Tone, typeof IconCheck]> = {
  // changes
  checking: ["busy", IconLoader2], waiting: ["hold", IconClock], review: ["hold", IconHandStop], changes_requested: ["hold", IconHandStop], held: ["hold", IconHandStop],
  ready: ["good", IconCheck], refused: ["bad", IconCircleX], failed: ["bad", IconCircleX], blocked: ["bad", IconCircleMinus],
  merging: ["busy", IconLoader2], merged: ["busy", IconGitMerge], deployed: ["good", IconCircleCheck],
  rolled_back: ["bad", IconArrowBackUp], closed: ["quiet", IconCircleMinus], rejected: ["bad", IconCircleX],
  published: ["good", IconCircleCheck], // a pattern change that is merged; see stateOf
  // checks, deployments, steps
  running: ["busy", IconLoader2], passed: ["good", IconCircleCheck], warning: ["hold", IconAlertTriangle], succeeded: ["good", IconCircleCheck],
  cancelled: ["quiet", IconCircleMinus], superseded: ["quiet", IconCircleMinus], interrupted: ["bad", IconAlertTriangle],
  // instances
  new: ["quiet", IconCircleDashed], deploying: ["busy", IconLoader2], healthy: ["good", IconCircleCheck], degraded: ["bad", IconAlertTriangle],
  removed: ["quiet", IconCircleMinus], removing: ["hold", IconLoader2], active: ["good", IconCircleCheck],
  // waivers
  requested: ["hold", IconHandStop], granted: ["good", IconCircleCheck], revoked: ["quiet", IconCircleMinus], ended: ["quiet", IconClock],
  // versions, decisions, requests
  draft: ["quiet", IconCircleDashed], in_review: ["hold", IconHandStop], certified: ["good", IconCircleCheck], deprecated: ["hold", IconAlertTriangle],
  open: ["hold", IconCircleDashed], accepted: ["busy", IconCheck], developing: ["busy", IconBlocks], done: ["good", IconCircleCheck], declined: ["bad", IconCircleX],
  retired: ["quiet", IconCircleMinus], approved: ["good", IconCircleCheck], pending: ["quiet", IconCircleDashed],
};
const turning = new Set(["checking", "merging", "running", "deploying", "removing"]);

/** The state of a change as pages show it: for a pattern, merged is where its way ends. */
export function stateOf(change: { kind: string; state: string }): string {
  return change.kind === "pattern" && change.state === "merged" ? "published" : change.state;
}

export function toneOf(state: string): Tone {
  return looks[state]?.[0] ?? "quiet";
}

export function StateIcon({ state, size = 15 }: { state: string; size?: number }) {
  const [tone, Icon] = looks[state] ?? ["quiet", IconCircleDashed];
  return <Icon size={size} stroke={2} aria-hidden className={`ink-${tone}${turning.has(state) && Icon === IconLoader2 ? " turning" : ""}`} />;
}

/** A state as icon and word in its colour. */
export function State({ state, big, plain }: { state: string; big?: boolean; plain?: boolean }) {
  const tone = toneOf(state);
  return (
    <span className={`tag ${plain ? "plain" : `tone-${tone}`}${big ? " big" : ""}`}>
      <StateIcon state={state} size={big ? 15 : 14} />
      <span className={plain ? undefined : `ink-${tone}`}>{word(state)}</span>
    </span>
  );
}

const lanes: Record<Lane, [typeof IconBolt, string]> = {
  software: [IconBolt, "Only the app's own code: the team decides alone, and it rolls out at once."],
  variable: [IconAdjustmentsHorizontal, "A variable inside its bounds, or another certified version: planned and applied by itself."],
  pattern: [IconBlocks, "The pattern itself: the Center of Excellence decides."],
};

/** A lane as icon and word in its colour. */
export function LaneTag({ lane, big }: { lane?: string; big?: boolean }) {
  if (!lane || !(lane in lanes)) return null;
  const [Icon, meaning] = lanes[lane as Lane];
  return (
    <span className={`tag lane lane-${lane}${big ? " big" : ""}`} title={meaning}>
      <Icon size={big ? 15 : 13} stroke={2.2} aria-hidden />
      {word(lane)}
      {big ? " lane" : <span className="hidden"> lane</span>}
    </span>
  );
}
export const laneMeaning = (lane: string) => lanes[lane as Lane]?.[1];

// One clock for all relative times of a page.
let now = Date.now();
const ticking = new Set<() => void>();
setInterval(() => {
  now = Date.now();
  for (const tick of ticking) tick();
}, 10_000);
function useNow() {
  return useSyncExternalStore((tick) => {
    ticking.add(tick);
    return () => void ticking.delete(tick);
  }, () => now);
}

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

/** How long ago, with the exact time on hover. */
export function Time({ at }: { at?: string }) {
  const clock = useNow();
  if (!at) return null;
  const date = new Date(at);
  return <time dateTime={at} title={exact.format(date)} className="nowrap">{relative(date, new Date(Math.max(clock, Date.now())))}</time>;
}

/** How long it took, or takes until now. */
export function Took({ from, to }: { from?: string; to?: string }) {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!from || to) return;
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, [from, to]);
  if (!from) return null;
  const end = to ? Date.parse(to) : Date.now();
  return <span className="tabular nowrap" title={`from ${exact.format(new Date(from))}${to ? ` to ${exact.format(new Date(to))}` : ""}`}>{duration(end - Date.parse(from))}</span>;
}

/** An id that a click copies. */
export function Id({ id, label }: { id?: string; label?: string }) {
  const clipboard = useClipboard({ timeout: 1200 });
  if (!id) return <span className="dim">—</span>;
  return (
    <button type="button" className="id" title={`${id}: click to copy`} onClick={() => clipboard.copy(id)}>
      <span className="clip">{label ?? short(id)}</span>
      {clipboard.copied ? <IconCheck size={12} aria-hidden /> : <IconCopy size={12} aria-hidden />}
      <span className="hidden" aria-live="polite">{clipboard.copied ? "copied" : "copy"}</span>
    </button>
  );
}

const ids = /(\b(?:chg|dpl)_[a-z0-9]+\b)/;

function named(part: string, i: number): ReactNode {
  if (part.startsWith("chg_")) return <Link key={i} className="link mono" to="/changes/$change" params={{ change: part }}>{part}</Link>;
  if (part.startsWith("dpl_")) return <Link key={i} className="link mono" to="/deployments/$deployment" params={{ deployment: part }}>{part}</Link>;
  return part;
}

/** A sentence of the API: `words in backticks` are code, and ids of changes and deployments lead there. */
export function Sentence({ text }: { text?: string }) {
  if (!text) return null;
  const parts = sentence(text).split(/(`[^`]+`)/);
  return (
    <>
      {parts.map((part, i) => {
        if (part.startsWith("`") && part.length > 2) return <code key={i} className="word">{part.slice(1, -1).split(ids).map(named)}</code>;
        return <Fragment key={i}>{part.split(ids).map(named)}</Fragment>;
      })}
    </>
  );
}

/** The first letter of a name, in a colour of its own. */
export function Avatar({ name }: { name: string }) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 6, 0);
  return <span className={`avatar hue-${hue}`} aria-hidden title={name}>{(name || "?").charAt(0).toUpperCase()}</span>;
}

export function Note({ tone, icon, title, children, action }: { tone: Tone; icon?: ReactNode; title?: ReactNode; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className={`note tone-${tone}`}>
      {icon}
      <div className="stack tight">
        {title && <strong>{title}</strong>}
        {children}
      </div>
      {action}
    </div>
  );
}

/** What went wrong, as the API says it: the sentence, the way out, and the id to ask about. */
export function Wrong({ error, retry }: { error: unknown; retry?: () => void }) {
  if (!error) return null;
  const problem = error instanceof Problem ? error : undefined;
  const message = problem?.message ?? (error instanceof Error ? error.message : String(error));
  return (
    <div role="alert">
      <Note
        tone="bad"
        icon={<IconAlertTriangle size={16} className="ink-bad" aria-hidden />}
        action={retry && <Button variant="default" onClick={retry}>Try again</Button>}
      >
        <p><Sentence text={message} /></p>
        {problem?.remedy && <p><Sentence text={problem.remedy} /></p>}
        {problem && problem.fields.length > 0 && (
          <ul>{problem.fields.map((field, i) => <li key={i}><code>{field.path}</code>: {field.message}</li>)}</ul>
        )}
        {problem?.requestId && <p className="small dim">Request <Id id={problem.requestId} /></p>}
      </Note>
    </div>
  );
}

export function Empty({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="empty">
      <strong>{title}</strong>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

export function Card({ title, count, aside, children, flush, id }: { title: ReactNode; count?: number; aside?: ReactNode; children: ReactNode; flush?: boolean; id?: string }) {
  return (
    <section className="card" id={id} aria-label={typeof title === "string" ? title : undefined}>
      <header>
        <h2>{title}{count !== undefined && <span className="count tabular">{new Intl.NumberFormat().format(count)}</span>}</h2>
        {aside}
      </header>
      <div className={`body${flush ? " flush" : ""}`}>{children}</div>
    </section>
  );
}

/** A page with its title, also in the window's. */
export function Page({ title, heading, crumbs, children, actions, below, width }: {
  title: string; heading?: ReactNode; crumbs?: ReactNode; children: ReactNode; actions?: ReactNode; below?: ReactNode; width?: "wide" | "narrow";
}) {
  useEffect(() => {
    document.title = title === "Flywheel" ? title : `${title} · Flywheel`;
  }, [title]);
  return (
    <div className={`page ${width ?? ""}`}>
      <div className="head">
        <div className="titles">
          {crumbs && <nav className="crumbs" aria-label="Breadcrumb">{crumbs}</nav>}
          <h1>{heading ?? title}</h1>
          {below}
        </div>
        {actions && <div className="line">{actions}</div>}
      </div>
      {children}
    </div>
  );
}

/** What a query gives, or that it loads, or why it failed. What is known stays while it is fetched anew. */
export function Ask<T>({ query, children, rows = 4 }: { query: { data?: T; error: unknown; isPending: boolean; refetch: () => unknown }; children: (data: T) => ReactNode; rows?: number }) {
  if (query.data !== undefined) {
    return <>{query.error ? <Wrong error={query.error} retry={() => void query.refetch()} /> : null}{children(query.data)}</>;
  }
  if (query.error) return <Wrong error={query.error} retry={() => void query.refetch()} />;
  return (
    <div className="stack" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, i) => <div key={i} className="skeleton" />)}
    </div>
  );
}
