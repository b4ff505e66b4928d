// The checks of a change, each with its log as it is written.
import { IconChevronRight } from "@tabler/icons-react";
import { useState } from "react";
import type { Change, Check } from "../../api/types";
import { Log } from "../../ui/Log";
import { Card, Sentence, StateIcon, Took } from "../../ui/parts";

export function Checks({ change, checks }: { change: Change; checks: Check[] }) {
  if (checks.length === 0) return null;
  return (
    <Card title="Checks" count={checks.length} flush>
      <ul className="rows">{checks.map((check) => <li key={check.id}><One change={change} check={check} /></li>)}</ul>
    </Card>
  );
}

function One({ change, check }: { change: Change; check: Check }) {
  const [open, setOpen] = useState(check.state === "running" && !!check.log);
  const line = (
    <>
      <StateIcon state={check.state} size={16} />
      <span className="hidden">{check.state}: </span>
      <span className="strong nowrap">{check.name}</span>
      <span className="dim check-text"><Sentence text={check.summary} /></span>
      <span className="dim small push"><Took from={check.startedAt} to={check.finishedAt} /></span>
    </>
  );
  if (!check.log) return <div className="check">{line}</div>;
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary className="check"><IconChevronRight size={14} className="chevron dim" aria-hidden />{line}</summary>
      {open && <Log path={`/changes/${change.id}/log/${encodeURIComponent(check.name)}`} live={check.state === "running"} label={`Log of ${check.name}`} />}
    </details>
  );
}
