// What an operator decides about an instance.
import { Button, Modal, Select, TextInput } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import type { Change } from "../../api/types";
import { useAct } from "../../ui/act";
import { Wrong } from "../../ui/parts";
import { relative, short } from "../../ui/text";
import { teamsWhere, useMe } from "../account/queries";
import { deploymentsQuery } from "../deploy/queries";
import { giveApp, rollBack } from "./queries";

export function RollBack({ app, environment, opened, close }: { app: string; environment: string; opened: boolean; close: () => void }) {
  const query = useInfiniteQuery({ ...deploymentsQuery({ app, environment, state: "succeeded" }, 50), enabled: opened });
  const [to, setTo] = useState<string | null>(null);
  const navigate = useNavigate();
  const run = useAct(() => rollBack(app, environment, to ?? undefined), (d) => void navigate({ to: "/deployments/$deployment", params: { deployment: d.id } }));
  const earlier = query.data?.slice(1) ?? [];
  return (
    <Modal opened={opened} onClose={close} title={`Roll back ${app} in ${environment}`}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); run.mutate(undefined); }}>
        <p>The environment goes back to what ran before and stays there: later changes stop before it until the change is reverted or fixed.</p>
        <Select label="Back to" placeholder="what ran before" clearable value={to} onChange={setTo}
          data={earlier.map((d) => ({ value: d.id, label: `#${d.number} · ${d.desired.version} · ${short(d.desired.artifact)} · ${relative(new Date(d.finishedAt ?? d.createdAt), new Date())}` }))} />
        <Wrong error={run.error} />
        <div className="line"><Button type="submit" color="red.8" loading={run.isPending}>Roll back</Button><Button variant="subtle" color="gray" onClick={close}>Cancel</Button></div>
      </form>
    </Modal>
  );
}

export function Give({ app, team, opened, close }: { app: string; team: string; opened: boolean; close: () => void }) {
  const me = useMe();
  const [to, setTo] = useState<string | null>(null);
  const run = useAct(() => giveApp(app, to ?? ""), () => close());
  const teams = teamsWhere(me, "create_app").filter((one) => one !== team);
  return (
    <Modal opened={opened} onClose={close} title={`Give ${app} to another team`}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); if (to) run.mutate(undefined); }}>
        <p>Its changes, secrets and history go with it, and only that team decides about it then. What runs is not touched.</p>
        {teams.length === 0 ? <p className="dim">You are a developer of no other team, so somebody who is, or an admin, has to do it.</p>
          : <Select label="Team" description="One in which you may create apps" data={teams} value={to} onChange={setTo} searchable={teams.length > 8} />}
        <p className="dim small">flywheel.yaml may go on naming {team}; correct <code>metadata.team</code> with any later change.</p>
        <Wrong error={run.error} />
        <div className="line"><Button type="submit" disabled={!to} loading={run.isPending}>Give it</Button><Button variant="subtle" color="gray" onClick={close}>Cancel</Button></div>
      </form>
    </Modal>
  );
}

export function Remove({ what, name, opened, close, act }: { what: string; name: string; opened: boolean; close: () => void; act: () => Promise<Change> }) {
  const [typed, setTyped] = useState("");
  const navigate = useNavigate();
  const run = useAct(act, (change) => void navigate({ to: "/changes/$change", params: { change: change.id } }));
  return (
    <Modal opened={opened} onClose={close} title={`Remove ${what}`}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); if (typed === name) run.mutate(undefined); }}>
        <p>This opens a change with the plan of what would be destroyed. Nothing is destroyed before an operator releases that plan; the secrets there are deleted with it.{what === name && " Its code and history can be read afterwards, and its name stays with them: no other app can have it."}</p>
        <TextInput label={<>Type <code>{name}</code> to go on</>} value={typed} onChange={(event) => setTyped(event.currentTarget.value)} autoComplete="off" spellCheck={false} />
        <Wrong error={run.error} />
        <div className="line"><Button type="submit" color="red.8" disabled={typed !== name} loading={run.isPending}>Open the change</Button><Button variant="subtle" color="gray" onClick={close}>Cancel</Button></div>
      </form>
    </Modal>
  );
}
