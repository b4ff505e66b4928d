import type { ReactNode } from "react";
import { Link } from "@tanstack/react-router";
import type { Deployment } from "../../api/types";
import { State, StateIcon, Time, Took } from "../../ui/parts";
import { word } from "../../ui/text";

export const kindWords = { release: "release", infrastructure: "infrastructure run", destroy: "removal" } as const;

/** A deployment as a line of a list. */
export function DeploymentRow({ deployment: d, without, verb, title }: { deployment: Deployment; without?: "app"; verb?: ReactNode; title?: string }) {
  return (
    <Link to="/deployments/$deployment" params={{ deployment: d.id }} className={`row-link row-deploy${verb ? " decide" : ""}`}>
      <span className="line nowrap-line">
        <span className="narrow-only" title={word(d.state)}><StateIcon state={d.state} /><span className="hidden">{word(d.state)}: </span></span>
        <span className="stack tight minimal">
          <span className="clip strong">{without === "app" ? d.environment : <>{d.app} <span className="dim">in</span> {d.environment}</>}</span>
          <span className="dim small clip">#{d.number}{title && ` · ${title}`} · {kindWords[d.kind]}{d.trigger !== "change" && ` · ${d.trigger}`}{d.reason && ` · ${d.reason}`}</span>
        </span>
      </span>
      <span className="dim small wide-only"><Took from={d.startedAt} to={d.finishedAt} /></span>
      {verb || <span className="wide-only"><State state={d.state} /></span>}
      <span className="dim small end"><Time at={d.finishedAt ?? d.startedAt ?? d.createdAt} /></span>
    </Link>
  );
}
