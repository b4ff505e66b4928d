import type { App } from "../../api/types";
import { State, StateIcon } from "../../ui/parts";

/** Where an app runs, and how it is there. */
export function Instances({ app }: { app: App }) {
  if (app.state !== "active") return <State state={app.state} />;
  if (app.instances.length === 0) return <span className="dim small">not deployed yet</span>;
  return (
    <span className="line">
      {app.instances.map(({ id, environment, state, outdated }) => (
        <span key={id} className="line gap-4 nowrap small" title={`${environment}: ${state}${outdated ? `, outdated: ${outdated} is recommended` : ""}`}><StateIcon state={state} size={14} />{environment}<span className="hidden">: {state}</span>{outdated && <span className="ink-hold">outdated</span>}</span>
      ))}
    </span>
  );
}
