// A plan as a tree: what happens to each resource, and from what to what.
import { IconAlertTriangle, IconArrowRight, IconCirclePlus, IconEyeOff, IconPencil, IconReplace, IconTrash, IconUnlink } from "@tabler/icons-react";
import type { Plan, PlanAction, ResourceChange } from "../api/types";
import { counts, effective, lines } from "./plan";
import { Note } from "./parts";
import type { Tone } from "./parts";
import { plural, show } from "./text";

const actions: Partial<Record<PlanAction, [string, Tone, typeof IconPencil]>> = {
  create: ["create", "good", IconCirclePlus],
  update: ["update", "busy", IconPencil],
  replace: ["replace", "bad", IconReplace],
  delete: ["destroy", "bad", IconTrash],
  forget: ["forget", "hold", IconUnlink],
  "no-op": ["move", "quiet", IconArrowRight],
};

const unknown = "(known after apply)";

export function PlanSummary({ plan }: { plan: Plan }) {
  const all = counts(plan);
  if (all.length === 0) return <span className="dim">No resource changes</span>;
  return (
    <span className="line">
      {all.map(([action, count]) => {
        const [word, tone, Icon] = actions[action] ?? [action, "quiet", IconPencil];
        return <span key={action} className={`line ink-${tone} nowrap gap-4`}><Icon size={14} aria-hidden />{count} to {word}</span>;
      })}
    </span>
  );
}

export function PlanTree({ plan }: { plan: Plan }) {
  const changes = effective(plan);
  const outputs = plan.outputs?.filter(({ action }) => action !== "no-op") ?? [];
  const drift = plan.drift?.filter(({ action }) => action !== "no-op") ?? [];
  return (
    <div className="stack tight">
      {plan.checks?.map((check) => (
        <Note key={check.address} tone="hold" icon={<IconAlertTriangle size={16} className="ink-hold" aria-hidden />} title={<code>{check.address}</code>}>
          {check.problems.map((problem) => <p key={problem}>{problem}</p>)}
        </Note>
      ))}
      {changes.length === 0 && outputs.length === 0 && <p className="dim">Nothing would be created, updated, replaced or destroyed.</p>}
      {changes.map((change) => <Resource key={change.address} change={change} open={changes.length <= 6 || change.action === "delete" || change.action === "replace"} />)}
      {outputs.length > 0 && (
        <details className="plan">
          <summary><span className="dim">{plural(outputs.length, "output")} that changes</span></summary>
          <table className="plan-lines"><tbody>
            {outputs.map((output) => <tr key={output.name}><th scope="row">{output.name}</th><td><Moved before={output.before === null ? undefined : show(output.before)} after={output.after === null ? undefined : show(output.after)} /></td></tr>)}
          </tbody></table>
        </details>
      )}
      {drift.length > 0 && (
        <details className="plan">
          <summary><span className="ink-hold">{plural(drift.length, "resource")} changed outside of Flywheel</span></summary>
          {drift.map((change) => <Resource key={change.address} change={change} open={false} />)}
        </details>
      )}
    </div>
  );
}

function Resource({ change, open }: { change: ResourceChange; open: boolean }) {
  const [word, tone, Icon] = actions[change.action] ?? [change.action, "quiet" as Tone, IconPencil];
  const all = lines(change);
  // What a new resource will know only afterwards is one line, not one for each attribute.
  const later = change.action === "create" ? all.filter(({ after }) => after === unknown) : [];
  const differs = all.filter((line) => !later.includes(line));
  return (
    <details className="plan" open={open}>
      <summary>
        <Icon size={15} className={`ink-${tone}`} aria-hidden />
        <span className={`ink-${tone} plan-word`}>{word}</span>
        <code className="wrap">{change.address}</code>
        {change.previous && <span className="dim small">was <code>{change.previous}</code></span>}
      </summary>
      {all.length > 0 && (
        <table className="plan-lines">
          <tbody>
            {differs.map((line) => (
              <tr key={line.name}>
                <th scope="row">{line.name}</th>
                <td>
                  <Moved before={line.before} after={line.after} />
                  {line.forces && <span className="ink-bad small"> forces the replacement</span>}
                </td>
              </tr>
            ))}
            {later.length > 0 && <tr><td colSpan={2} className="later"><em className="dim">Known after apply: {later.map(({ name }) => name).join(", ")}</em></td></tr>}
          </tbody>
        </table>
      )}
    </details>
  );
}

/** From what to what; either side may be missing. */
export function Moved({ before, after }: { before?: string; after?: string }) {
  return (
    <>
      {before !== undefined && <Value text={before} old={after !== undefined || undefined} />}
      {before !== undefined && after !== undefined && <><IconArrowRight size={12} className="dim arrow" aria-hidden /><span className="hidden"> becomes </span></>}
      {after !== undefined && <Value text={after} />}
      {before !== undefined && after === undefined && <span className="dim"> (removed)</span>}
    </>
  );
}

function Value({ text, old }: { text: string; old?: boolean }) {
  if (text === "(sensitive)") return <span className="dim"><IconEyeOff size={12} className="arrow" aria-hidden /> sensitive</span>;
  if (text === unknown) return <em className="dim">known after apply</em>;
  const brief = text.replace(/(sha256:[0-9a-f]{12})[0-9a-f]{52}/g, "$1…");
  return <code className={`wrap${old ? " old" : ""}`} title={brief === text ? undefined : text}>{brief}</code>;
}
