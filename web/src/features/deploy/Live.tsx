// A deployment as it happens: its steps with their times, and its log.
import { IconChevronRight } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { Deployment, Step } from "../../api/types";
import { Log } from "../../ui/Log";
import { Sentence, State, StateIcon, Took } from "../../ui/parts";
import { kindWords } from "./parts";
import { deploymentQuery, over } from "./queries";

export function Steps({ steps }: { steps: Step[] }) {
  return (
    <ol className="steps">
      {[...steps].sort((a, b) => a.position - b.position).map((step) => (
        <li key={step.position} title={step.detail}>
          <StateIcon state={step.state} size={15} />
          <span className="strong">{step.name}</span>
          <span className="hidden">{step.state}</span>
          <span className="dim small"><Took from={step.startedAt} to={step.finishedAt} /></span>
        </li>
      ))}
    </ol>
  );
}

/** One deployment of a change, opened while it runs, where it failed, and where it waits for something. */
export function Live({ deployment: known }: { deployment: Deployment }) {
  const query = useQuery(deploymentQuery(known.id));
  const d = query.data ?? known;
  const running = !over(d);
  const [open, setOpen] = useState<boolean>();
  const shown = open ?? (d.state === "running" || d.state === "failed" || (running && Boolean(d.reason)));
  return (
    <details className="live-deployment" open={shown} onToggle={(event) => { if (event.currentTarget.open !== shown) setOpen(event.currentTarget.open); }}>
      <summary className="check">
        <IconChevronRight size={14} className="chevron dim" aria-hidden />
        <span className="strong">{d.environment}</span>
        <State state={d.state} />
        <span className="dim small">{d.trigger === "change" ? kindWords[d.kind] : d.trigger}</span>
        <span className="dim small push"><Took from={d.startedAt} to={d.finishedAt} /></span>
      </summary>
      {shown && (
        <div className="pad stack">
          {d.reason && <p><Sentence text={d.reason} /></p>}
          {d.steps && d.steps.length > 0 && <Steps steps={d.steps} />}
          {d.startedAt && <div className="framed"><Log path={`/deployments/${d.id}/log`} live={running && d.state !== "held"} label={`Log of the deployment in ${d.environment}`} /></div>}
          <p><Link className="link small" to="/deployments/$deployment" params={{ deployment: d.id }}>Deployment #{d.number} in {d.environment}</Link></p>
        </div>
      )}
    </details>
  );
}
