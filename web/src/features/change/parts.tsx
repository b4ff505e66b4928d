import type { ReactNode } from "react";
import { Link } from "@tanstack/react-router";
import type { Change } from "../../api/types";
import { LaneTag, State, StateIcon, stateOf, Time } from "../../ui/parts";
import { word } from "../../ui/text";

/** A change as a line of a list. */
export function ChangeRow({ change, verb }: { change: Change; verb?: ReactNode }) {
  return (
    <Link to="/changes/$change" params={{ change: change.id }} className={`row-link row-change${verb ? " decide" : ""}`}>
      <span className="line nowrap-line">
        <span className="narrow-only" title={word(stateOf(change))}><StateIcon state={stateOf(change)} /><span className="hidden">{word(stateOf(change))}: </span></span>
        <span className="stack tight minimal">
          <span className="clip strong">{change.title}</span>
          <span className="dim small clip">{change.subject}{change.why ? <> · {change.why.replaceAll("`", "")}</> : <> · {change.branch}</>}</span>
        </span>
      </span>
      <span><LaneTag lane={change.lane} /></span>
      {verb || <span className="wide-only"><State state={stateOf(change)} /></span>}
      <span className="dim small end wide-only"><Time at={change.updatedAt} /></span>
    </Link>
  );
}
