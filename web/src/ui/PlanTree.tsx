// A plan as a tree: what happens to each resource, and from what to what.
import { IconAlertTriangle, IconArrowRight, IconBolt, IconCirclePlus, IconDownload, IconEye, IconEyeOff, IconPencil, IconReplace, IconTrash, IconUnlink } from "@tabler/icons-react";
import type { Plan, PlanEffect, ResourceChange } from "../api/types";
import { counts, effective, lines } from "./plan";
import { Note } from "./parts";
import type { Tone } from "./parts";
import { plural, show } from "./text";

const words: Record<PlanEffect["kind"], [one: string, many: string, tone: Tone, icon: typeof IconPencil]> = {
  destroy: ["to destroy", "to destroy", "bad", IconTrash],
  destroy_deposed: ["deposed to destroy", "deposed to destroy", "bad", IconTrash],
  replace: ["to replace", "to replace", "bad", IconReplace],
  forget: ["to forget", "to forget", "hold", IconUnlink],
  update: ["to update", "to update", "busy", IconPencil],
  invoke: ["action runs", "actions run", "hold", IconBolt],
  create: ["to create", "to create", "good", IconCirclePlus],
  import: ["to import", "to import", "hold", IconDownload],
  move: ["to move", "to move", "quiet", IconArrowRight],
  output: ["output changes", "outputs change", "quiet", IconArrowRight],
  read: ["to read", "to read", "quiet", IconEye],
  check: ["check fails", "checks fail", "hold", IconAlertTriangle],
};

const unknown = "(known after apply)";

export function PlanSummary({ plan }: { plan: Plan }) {
  const all = counts(plan);
  if (all.length === 0) return <span className="dim">Nothing to change</span>;
  return (
    <span className="line">
      {all.map(([kind, count]) => {
        const [one, many, tone, Icon] = words[kind];
        return <span key={kind} className={`line ink-${tone} nowrap gap-4`}><Icon size={14} aria-hidden />{count} {count === 1 ? one : many}</span>;
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
        <Note key={check.address} tone="hold" icon={<IconAlertTriangle size={16} className="ink-hold" aria-hidden />} title={<><code>{check.address}</code> {check.status === "unknown" ? "is decided by the apply" : "fails"}</>}>
          {check.problems.map((problem) => <p key={problem}>{problem}</p>)}
        </Note>
      ))}
      {counts(plan).length === 0 && <p className="dim">Nothing to change.</p>}
      {changes.map(({ change, kinds }) => <Resource key={change.address + (change.deposed ?? "")} change={change} kinds={kinds} open={changes.length <= 6 || change.action === "delete" || change.action === "replace"} />)}
      {plan.invocations?.map((one) => (
        <Note key={one.address + one.for} tone="hold" icon={<IconBolt size={16} className="ink-hold" aria-hidden />} title={<>The action <code>{one.address}</code> runs{one.for && <> for <code>{one.for}</code></>}</>}>
          <p>{show(one.with)}</p>
        </Note>
      ))}
      {outputs.length > 0 && (
        <details className="plan">
          <summary><span className="dim">{outputs.length} {outputs.length === 1 ? "output changes" : "outputs change"}</span></summary>
          <table className="plan-lines"><tbody>
            {outputs.map((output) => <tr key={output.name}><th scope="row">{output.name}</th><td><Moved before={output.before === null ? undefined : show(output.before)} after={output.after === null ? undefined : show(output.after)} /></td></tr>)}
          </tbody></table>
        </details>
      )}
      {drift.length > 0 && (
        <details className="plan">
          <summary><span className="ink-hold">{plural(drift.length, "resource")} changed outside of Flywheel</span></summary>
          {drift.map((change) => <Resource key={change.address} change={change} kinds={[change.action === "delete" ? "destroy" : "update"]} drift open={false} />)}
        </details>
      )}
    </div>
  );
}

function Resource({ change, kinds, drift, open }: { change: ResourceChange; kinds: PlanEffect["kind"][]; drift?: boolean; open: boolean }) {
  const [, , tone, Icon] = words[kinds[0] ?? "read"];
  const word = drift ? (change.action === "delete" ? "gone" : "changed") : kinds.map((kind) => words[kind][0].replace(/^to | to /, " ").trim()).join(", ");
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
        {change.import && <span className="dim small">is there as <code>{change.import}</code></span>}
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
