// Secrets of an app in an environment: their names, and setting them. A value is never shown again.
import { ActionIcon, Button, Modal, PasswordInput, TextInput } from "@mantine/core";
import { IconTrash } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { useAct } from "../../ui/act";
import { Ask, Time, Wrong } from "../../ui/parts";
import { redeploy, removeSecret, secretsQuery, setSecret } from "./queries";

export function Secrets({ app, environment, deploys, opened, close }: { app: string; environment: string; deploys: boolean; opened: boolean; close: () => void }) {
  const query = useQuery({ ...secretsQuery(app, environment), enabled: opened });
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const set = useAct(() => setSecret(app, environment, name, value));
  const again = useAct(() => redeploy(app, environment), `${app} is being deployed in ${environment}.`);
  const remove = useAct((name: string) => removeSecret(app, environment, name), () => setLeaving(undefined));
  const [leaving, setLeaving] = useState<string>(); // the one that is asked about
  const submit = (event: FormEvent) => {
    event.preventDefault();
    set.mutate(undefined, { onSuccess: () => { setName(""); setValue(""); } });
  };
  return (
    <Modal opened={opened} onClose={close} title={`Secrets of ${app} in ${environment}`}>
      <div className="stack loose">
        {opened && (
          <Ask query={query} rows={1}>
            {(items) => items.length === 0 ? <p className="dim">None is set. Set the first below.</p> : (
              <ul className="rows">
                {items.map((secret) => (
                  <li key={secret.name} className="line pad-y"><code>{secret.name}</code><span className="dim small push">set <Time at={secret.updatedAt} /></span>
                    <ActionIcon variant="subtle" color="gray" aria-label={`Delete ${secret.name}`} aria-expanded={leaving === secret.name} onClick={() => setLeaving(leaving === secret.name ? undefined : secret.name)}><IconTrash size={15} /></ActionIcon>
                    {leaving === secret.name && (
                      <div className="note tone-bad full-line">
                        <p>Its value cannot be had back. What runs keeps it until its next deployment, which fails if the app still needs it.</p>
                        <span className="line"><Button color="red.8" loading={remove.isPending} onClick={() => remove.mutate(secret.name)}>Delete it</Button><Button variant="default" onClick={() => setLeaving(undefined)}>Keep it</Button></span>
                      </div>
                    )}</li>
                ))}
              </ul>
            )}
          </Ask>
        )}
        <Wrong error={remove.error} />
        <form className="stack" onSubmit={submit} autoComplete="off">
          <TextInput label="Name" placeholder="PAYMENT_KEY" required withAsterisk={false} value={name} onChange={(event) => setName(event.currentTarget.value)} spellCheck={false} autoComplete="off" />
          <PasswordInput label="Value" description="At least 4 characters. It is encrypted and never shown again." required withAsterisk={false} value={value} onChange={(event) => setValue(event.currentTarget.value)} autoComplete="new-password" />
          <Wrong error={set.error} />
          <p className="dim small">What runs keeps the old value until its next deployment.</p>
          {set.isSuccess && deploys && <div className="line"><span role="status">It is set.</span><Button variant="light" size="xs" loading={again.isPending} onClick={() => again.mutate(undefined, { onSuccess: close })}>Redeploy now</Button></div>}
          <Wrong error={again.error} />
          <div className="line"><Button type="submit" loading={set.isPending}>Set the secret</Button><Button variant="subtle" color="gray" onClick={close}>Close</Button></div>
        </form>
      </div>
    </Modal>
  );
}
