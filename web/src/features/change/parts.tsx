import type { ReactNode } from "react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Change } from "../../api/types";
import { LaneTag, State, StateIcon, stateOf, Time } from "../../ui/parts";
import { word } from "../../ui/text";
import { changeQuery } from "./queries";

/** A change by its title, which is fetched, for where only its id is known. */
export function ChangeLink({ id }: { id: string }) {
  const query = useQuery(changeQuery(id));
  return <Link className="link" to="/changes/$change" params={{ change: id }} title={id}>{query.data?.change.title ?? id}</Link>;
}

/** A change as a line of a list. */
export function ChangeRow({ change, verb }: { change: Change; verb?: ReactNode }) {
  return (
    <Link to="/changes/$change" params={{ change: change.id }} className={`row-link row-change${verb ? " decide" : ""}`}>
      <span className="line nowrap-line">
        <span className="narrow-only" title={word(stateOf(change))}><StateIcon state={stateOf(change)} /><span className="hidden">{word(stateOf(change))}: </span></span>
        <span className="stack tight minimal">
          <span className="clip strong">{change.reasons.some(({ breaking }) => breaking) && <span className="tag tone-bad">breaking</span>} {change.title}</span>
          <span className="dim small clip">{change.subject}{change.why ? <> · {change.why.replaceAll("`", "")}</> : <> · {change.branch}</>}</span>
        </span>
      </span>
      <span><LaneTag lane={change.lane} /></span>
      {verb || <span className="wide-only"><State state={stateOf(change)} /></span>}
      <span className="dim small end wide-only"><Time at={change.updatedAt} /></span>
    </Link>
  );
}
