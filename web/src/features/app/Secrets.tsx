// Secrets of an app in an environment, and of an environment itself: their names, and setting them. A value is
// never shown again.
import { ActionIcon, Button, Modal, PasswordInput, TextInput } from "@mantine/core";
import { IconTrash } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent, type ReactNode } from "react";
import { useAct } from "../../ui/act";
import { Ask, Card, Time, Wrong } from "../../ui/parts";
import { redeploy, removeSecret, secretsQuery, setSecret } from "./queries";

export function Secrets({ app, environment, deploys, opened, close }: { app: string; environment: string; deploys: boolean; opened: boolean; close: () => void }) {
  const again = useAct(() => redeploy(app, environment), `${app} is being deployed in ${environment}.`);
  return (
    <Modal opened={opened} onClose={close} title={`Secrets of ${app} in ${environment}`}>
      <div className="stack loose">
        {opened && <List app={app} environment={environment} warning="What runs keeps it until its next deployment, which fails if the app still needs it." />}
        <SetSecret app={app} environment={environment} example="PAYMENT_KEY" note="What runs keeps the old value until its next deployment.">
          {deploys && <Button variant="light" size="xs" loading={again.isPending} onClick={() => again.mutate(undefined, { onSuccess: close })}>Redeploy now</Button>}
        </SetSecret>
        <Wrong error={again.error} />
        <div><Button variant="subtle" color="gray" onClick={close}>Close</Button></div>
      </div>
    </Modal>
  );
}

/** Secrets of an environment, for the Center of Excellence. */
export function EnvironmentSecrets({ environment }: { environment: string }) {
  return (
    <Card title="Secrets">
      <div className="stack loose">
        <p className="dim small">Infrastructure runs get those that their certified pattern names: credentials of a provider, and variables that are secret.</p>
        <List environment={environment} warning="Deployments of patterns that name it fail until it is set again." />
        <SetSecret environment={environment} example="AWS_SECRET_ACCESS_KEY" note="Infrastructure runs get it from now on." />
      </div>
    </Card>
  );
}

function List({ app, environment, warning }: { app?: string; environment: string; warning: string }) {
  const query = useQuery(secretsQuery(environment, app));
  const remove = useAct((name: string) => removeSecret(environment, name, app), () => setLeaving(undefined));
  const [leaving, setLeaving] = useState<string>(); // the one that is asked about
  return (
    <>
      <Ask query={query} rows={1}>
        {(items) => items.length === 0 ? <p className="dim">None is set. Set the first below.</p> : (
          <ul className="rows">
            {items.map((secret) => (
              <li key={secret.name} className="line pad-y"><code>{secret.name}</code><span className="dim small push">set <Time at={secret.updatedAt} />{secret.updatedBy && ` by ${secret.updatedBy}`}</span>
                <ActionIcon variant="subtle" color="gray" aria-label={`Delete ${secret.name}`} aria-expanded={leaving === secret.name} onClick={() => setLeaving(leaving === secret.name ? undefined : secret.name)}><IconTrash size={15} /></ActionIcon>
                {leaving === secret.name && (
                  <div className="note tone-bad full-line">
                    <p>Its value cannot be had back. {warning}</p>
                    <span className="line"><Button color="red.8" loading={remove.isPending} onClick={() => remove.mutate(secret.name)}>Delete it</Button><Button variant="default" onClick={() => setLeaving(undefined)}>Keep it</Button></span>
                  </div>
                )}</li>
            ))}
          </ul>
        )}
      </Ask>
      <Wrong error={remove.error} />
    </>
  );
}

function SetSecret({ app, environment, example, note, children }: { app?: string; environment: string; example: string; note: string; children?: ReactNode }) {
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const set = useAct(() => setSecret(environment, name, value, app));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    set.mutate(undefined, { onSuccess: () => { setName(""); setValue(""); } });
  };
  return (
    <form className="stack" onSubmit={submit} autoComplete="off">
      <TextInput label="Name" placeholder={example} required withAsterisk={false} value={name} onChange={(event) => setName(event.currentTarget.value)} spellCheck={false} autoComplete="off" />
      <PasswordInput label="Value" description="At least 4 characters. It is encrypted and never shown again." required withAsterisk={false} value={value} onChange={(event) => setValue(event.currentTarget.value)} autoComplete="new-password" />
      <Wrong error={set.error} />
      <p className="dim small">{note}</p>
      {set.isSuccess && <div className="line"><span role="status">It is set.</span>{children}</div>}
      <div><Button type="submit" loading={set.isPending}>Set the secret</Button></div>
    </form>
  );
}
