// The audit log: every decision, and whether anybody changed the log.
import { Button, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconShieldCheck } from "@tabler/icons-react";
import { useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useEffect, useMemo, useState } from "react";
import type { AuditRecord } from "../../api/types";
import { Ask, Empty, Id, Note, Page, Time, Wrong } from "../../ui/parts";
import { Rows } from "../../ui/Rows";
import { plural } from "../../ui/text";
import { asKept, auditQuery, may, useMe, verifyAudit, type AuditFilter } from "./queries";

const route = getRouteApi("/audit");

export default function Audit() {
  const me = useMe();
  const filter = route.useSearch();
  const [kept, setKept] = useState("");
  const verify = useMutation({ mutationFn: verifyAudit });
  const unread = kept.trim() !== "" && !asKept(kept);
  if (!may(me, "view_audit")) {
    return <Page title="Audit log"><Note tone="quiet" title="The audit log is not yours to see">Admins and the Center of Excellence read it.</Note></Page>;
  }
  return (
    <Page title="Audit log" width="wide" below={<p className="dim">Every decision, by whom and why. Each entry holds the hash of the one before it.</p>}
      actions={
        <form className="line verify" onSubmit={(event) => { event.preventDefault(); if (!unread) verify.mutate(kept); }}>
          <TextInput aria-label="What was kept" placeholder="What was kept, as 120:3f9a…" value={kept} onChange={(event) => setKept(event.currentTarget.value)} error={unread && "A number and a hash, as 120:3f9a…"} className="filter" spellCheck={false} autoComplete="off" />
          <Button type="submit" variant="default" leftSection={<IconShieldCheck size={15} />} loading={verify.isPending}>Verify</Button>
        </form>
      }>
      <div aria-live="polite">
        {verify.data && (verify.data.broken
          ? <Note tone="bad" title={`Entry ${verify.data.broken.seq} is not as it was written`}><p>{verify.data.broken.reason}. The {plural(verify.data.sound, "entry", "entries")} before it {verify.data.sound === 1 ? "is" : "are"} sound.</p></Note>
          : <Note tone="good" title={`${plural(verify.data.sound, "entry", "entries")}, each as it was written`}><p>Keep <Id id={`${verify.data.sound}:${verify.data.last}`} label={`${verify.data.sound}:${verify.data.last.slice(0, 10)}…`} /> elsewhere and give it next time: only that shows that the end was cut off, or all of it written anew.{verify.variables.trim() && " What was kept is still in it, as it was."}</p></Note>)}
        <Wrong error={verify.error} />
      </div>
      <Filters key={JSON.stringify(Object.keys(filter).length === 0)} filter={filter} />
      <Records filter={filter} />
    </Page>
  );
}

const fields: [keyof AuditFilter, string, string][] = [["person", "Person", "dana"], ["action", "Action", "change or change.approve"], ["subject", "Subject", "chg_…, or a name"], ["requestId", "Request", "req_…"]];

function Filters({ filter }: { filter: AuditFilter }) {
  const navigate = route.useNavigate();
  const [texts, setTexts] = useState<AuditFilter>(filter);
  const [settled] = useDebouncedValue(texts, 250);
  useEffect(() => {
    void navigate({ search: Object.fromEntries(Object.entries(settled).map(([name, text]) => [name, text?.trim() || undefined])) as AuditFilter, replace: true });
  }, [settled, navigate]);
  return (
    <div className="filters">
      {fields.map(([name, label, hint]) => <TextInput key={name} aria-label={label} placeholder={`${label}: ${hint}`} value={texts[name] ?? ""} onChange={(event) => setTexts({ ...texts, [name]: event.currentTarget.value })} className="filter" spellCheck={false} />)}
      {Object.values(filter).some(Boolean) && <Link to="/audit" search={{}} className="link small">Show everything</Link>}
    </div>
  );
}

function Records({ filter }: { filter: AuditFilter }) {
  const query = useInfiniteQuery(auditQuery(filter));
  const items = useMemo(() => (query.data ?? []).map((record) => ({ ...record, id: String(record.seq) })), [query.data]);
  return (
    <Ask query={query}>
      {() => (
        <section className="card">
          {items.length === 0 ? <Empty title="No decision matches">Try less, or another name.</Empty> : <Rows items={items} more={query} label="Decisions">{(record) => <Row record={record} />}</Rows>}
        </section>
      )}
    </Ask>
  );
}

const tones: Record<string, string> = { denied: "bad", refused: "bad", rejected: "bad", approved: "good" };

function Row({ record: { seq, at, name, token, action, subject, decision, reason } }: { record: AuditRecord }) {
  return (
    <div className="row-link row-audit">
      <span className="dim small tabular wide-only">{seq}</span>
      <span className="clip"><span className="strong">{name}</span>{token && <span className="dim small" title={token}> by token</span>}</span>
      <span className="clip"><code>{action}</code></span>
      <span className="clip subject"><Subject subject={subject} /></span>
      <span><span className={`tag tone-${tones[decision] ?? "quiet"}`}>{decision}</span></span>
      <span className="dim small end"><Time at={at} /></span>
      {reason && <span className="dim small full clip reason" title={reason}>{reason}</span>}
    </div>
  );
}

function Subject({ subject }: { subject: string }) {
  if (subject.startsWith("chg_")) return <Link className="link mono" to="/changes/$change" params={{ change: subject }}>{subject}</Link>;
  if (subject.startsWith("dpl_")) return <Link className="link mono" to="/deployments/$deployment" params={{ deployment: subject }}>{subject}</Link>;
  return <span title={subject}>{subject}</span>;
}
