// What can be decided about a change, by whom the server allows.
import { Button, Textarea, TextInput } from "@mantine/core";
import { IconCheck, IconMessage, IconX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Certification, Change, ChangeDetail, Decision } from "../../api/types";
import { Confirm, useAct } from "../../ui/act";
import { Card, Id, Note, Sentence, StateIcon, Time, Wrong } from "../../ui/parts";
import { disciplines, may, useMe } from "../account/queries";
import { appQuery } from "../app/queries";
import { approve, close, declareFix, merge, recheck, reject, release, requestChanges } from "./queries";

const over = new Set(["merged", "deployed", "rolled_back", "closed", "rejected"]);

const stopped = new Set(["refused", "failed", "blocked"]);

export function Actions({ detail: { change, heldDigest, mayDecide } }: { detail: ChangeDetail }) {
  const me = useMe();
  const [reason, setReason] = useState("");
  const [broken, setBroken] = useState("");
  const [typed, setTyped] = useState("");
  const app = useQuery({ ...appQuery(change.subject), enabled: change.kind === "app" && !over.has(change.state) });
  const can = (permission: string) => (change.kind === "app" ? may(me, permission, change.team ?? "") : false);
  if (over.has(change.state)) return null;
  const develops = change.kind === "app" ? can("push_app") : may(me, "develop_pattern");
  return (
    <>
      {develops && stopped.has(change.state) && change.code !== "change.outer_failed" && (
        <Confirm label="Check again" title="Check this change again" go="Check again" act={() => recheck(change.id)} done="It is checked again.">
          <p>For a cause outside of the change, such as a secret that was not set. What is wrong in the change itself needs a push.</p>
        </Confirm>
      )}
      {develops && (
        <Confirm label="Close" title="Close this change" go="Close the change" act={() => close(change.id, reason)} done="The change is closed.">
          <p>It is not merged. Its branch stays, and a push opens it again.</p>
          <Textarea label="Reason" value={reason} onChange={(event) => setReason(event.currentTarget.value)} maxLength={2000} autosize minRows={2} />
        </Confirm>
      )}
      {can("deploy") && app.data?.instances.some(({ pinnedBy }) => pinnedBy) && !change.fixForward && !change.reverts && change.kind === "app" && (
        <Confirm label="Declare a fix" title="Declare a fix" go="Declare" ready={broken.startsWith("chg_")} act={() => declareFix(change.id, broken.trim())} done="The change may pass what was rolled back.">
          <p>Where a change was rolled back, later ones stop. This one passes if it mends what was broken.</p>
          <TextInput label="The change it fixes" placeholder="chg_…" value={broken} onChange={(event) => setBroken(event.currentTarget.value)} spellCheck={false} />
        </Confirm>
      )}
      {change.state === "ready" && can("merge") && (
        <Confirm label="Merge" variant="filled" title="Merge this change" go="Merge" act={() => merge(change.id)} done="The change is being merged.">
          <p>Every check is green. It is merged into main and rolls out, environment by environment.</p>
        </Confirm>
      )}
      {change.state === "held" && mayDecide.includes("release") && (
        <Confirm label="Release" variant="filled" danger title="Release what is held" go="Release" act={() => release(change.id, heldDigest ?? "", typed)} ready={!!heldDigest} done="The change goes on.">
          {(problem) => (
            <>
              <Note tone="hold"><p><Sentence text={change.why} /></p></Note>
              <p>You release what this page shows, and nothing else: if it changes meanwhile, you are asked again.</p>
              <dl className="facts"><dt>Digest</dt><dd><Id id={heldDigest} /></dd></dl>
              {(problem?.code === "release.confirm" || typed !== "") && <TextInput label="Name of the app" value={typed} onChange={(event) => setTyped(event.currentTarget.value)} spellCheck={false} autoCapitalize="none" />}
            </>
          )}
        </Confirm>
      )}
    </>
  );
}

const decided = { approved: "approved", rejected: "rejected", changes_requested: "asks for changes of" } as const;
const decidedBefore = { approved: "approved it", rejected: "rejected it", changes_requested: "asked for changes" } as const;

/** Who decided, for which discipline, and the form for who may. */
export function Approvals({ change, certification, mayDecide }: { change: Change; certification: Certification; mayDecide: string[] }) {
  const me = useMe();
  const approvals = certification.approvals;
  const needed = disciplines.filter((discipline) => (certification.needed[discipline] ?? 0) > 0 || approvals.some((one) => one.discipline === discipline));
  const own = change.authors.includes(me?.id ?? "");
  const done = approvals.find((one) => one.person === me?.id && one.digest === certification.digest && !one.lapsed);
  const mine = disciplines.filter((discipline) => mayDecide.includes(discipline));
  const open = change.state === "review" || change.state === "changes_requested";
  return (
    <Card title="Approvals">
      <div className="stack">
        <ul className="stack">
          {needed.map((discipline) => {
            const those = approvals.filter((one) => one.discipline === discipline);
            const have = those.filter((one) => one.decision === "approved" && !one.lapsed).length;
            const want = certification.needed[discipline] ?? 0;
            const state = those.some((one) => one.decision === "rejected") ? "rejected" : those.some((one) => one.decision === "changes_requested" && one.digest === certification.digest) ? "changes_requested" : have >= want ? "approved" : "pending";
            return (
              <li key={discipline} className="stack tight">
                <span className="line"><StateIcon state={state} /><span className="strong">{discipline.charAt(0).toUpperCase() + discipline.slice(1)}</span><span className="dim small push tabular">{have} of {want}</span></span>
                {those.map((one) => (
                  <div key={one.person} className="small approval">
                    <span>{one.name} {decided[one.decision]}{one.lapsed ? <span className="ink-hold"> (does not count: {one.lapsed})</span> : one.digest !== certification.digest && <span className="ink-hold"> an earlier content</span>} <span className="dim"><Time at={one.at} /></span></span>
                    {one.reason && <p className="dim wrap">“{one.reason}”</p>}
                  </div>
                ))}
              </li>
            );
          })}
        </ul>
        <p className="small dim line">Binds to <Id id={certification.digest} /></p>
        {open && mine.length > 0 && (
          own ? <Note tone="quiet"><p>You wrote part of this change, so somebody else decides about it.</p></Note>
            : done ? <Note tone="quiet"><p>You {decidedBefore[done.decision]} for {done.discipline}. One person counts for one discipline.</p></Note>
              : <DecisionForm change={change} certification={certification} mine={mine} />
        )}
        {open && mine.length === 0 && <p className="small dim">People of these disciplines in the Center of Excellence decide.</p>}
      </div>
    </Card>
  );
}

function DecisionForm({ change, certification, mine }: { change: Change; certification: Certification; mine: readonly Decision["discipline"][] }) {
  const [discipline, setDiscipline] = useState<Decision["discipline"]>(mine[0]!);
  const [reason, setReason] = useState("");
  // What is approved is what this page showed when the person began to look, not what came since.
  const [digest, setDigest] = useState(certification.digest);
  const [typed, setTyped] = useState("");
  const yes = useAct(() => approve(change.id, { discipline, digest, reason, confirm: typed || undefined }), "Approved.");
  const no = useAct(() => reject(change.id, { discipline, digest, reason }), "Rejected.");
  const ask = useAct(() => requestChanges(change.id, { discipline, digest, reason }), "You asked for changes.");
  const stale = digest !== certification.digest;
  const all = [yes, ask, no];
  const decide = (one: typeof yes) => {
    for (const other of all) other.reset();
    one.mutate(undefined);
  };
  const blank = stale || !reason.trim();
  return (
    <form className="stack decision" onSubmit={(event) => event.preventDefault()}>
      {mine.length > 1 && (
        <div className="pills" role="group" aria-label="For the discipline">
          {mine.map((one) => <button key={one} type="button" className={`pill button${one === discipline ? " active" : ""}`} aria-pressed={one === discipline} onClick={() => setDiscipline(one)}>{one}</button>)}
        </div>
      )}
      <Textarea label={`Decide for ${discipline}`} placeholder="Why; needed unless you approve" value={reason} onChange={(event) => setReason(event.currentTarget.value)} maxLength={4000} autosize minRows={2} maxRows={10} />
      {stale && (
        <Note tone="hold" action={<Button variant="default" onClick={() => setDigest(certification.digest)}>I have looked</Button>}><p>The change, or an instance it affects, is different since you began to look.</p></Note>
      )}
      <Wrong error={all.find(({ error }) => error)?.error} />
      {certification.destroys > 0 ? (
        <Confirm label="Approve…" danger variant="filled" title="Approve what destroys data" go="Approve" ready={!stale && typed === change.subject} begin={() => setTyped("")} act={() => approve(change.id, { discipline, digest, reason, confirm: typed })} done="Approved.">
          <Note tone="bad" title={`Version ${certification.version} destroys or replaces something stateful on ${certification.destroys} of ${certification.radius.instances} live instances`}>
            <ul>{certification.instances.filter(({ destructive }) => destructive?.length).map(({ app, environment, destructive }) => <li key={`${app} ${environment}`}>{app} in {environment}: {destructive!.map((address) => <code key={address}>{address} </code>)}</li>)}</ul>
          </Note>
          <TextInput label={<>Type <code className="word">{change.subject}</code>, the name of the pattern</>} data-autofocus value={typed} onChange={(event) => setTyped(event.currentTarget.value)} spellCheck={false} autoCapitalize="none" />
        </Confirm>
      ) : <Button fullWidth leftSection={<IconCheck size={14} />} disabled={stale} loading={yes.isPending} onClick={() => decide(yes)}>Approve</Button>}
      <div className="line nowrap-line">
        <Button flex="3" px="xs" variant="default" leftSection={<IconMessage size={14} />} disabled={blank} loading={ask.isPending} onClick={() => decide(ask)}>Request changes</Button>
        <Button flex="2" px="xs" variant="default" leftSection={<IconX size={14} />} disabled={blank} loading={no.isPending} onClick={() => decide(no)}>Reject</Button>
      </div>
    </form>
  );
}
