// Who is at the browser: nobody (the sign-in page), somebody (the pages), or somebody whose session has
// ended (the pages as they were, under a sign-in that loses nothing typed).
import { Button, Modal, PasswordInput, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState, useSyncExternalStore, type FormEvent, type ReactNode } from "react";
import { Problem } from "../../api/client";
import { session } from "../../api/session";
import { Mark } from "../../ui/Mark";
import { Wrong } from "../../ui/parts";
import { meQuery, signIn, useMe } from "./queries";
import styles from "./Gate.module.css";

export function Gate({ children }: { children: ReactNode }) {
  const me = useQuery(meQuery);
  const state = useSyncExternalStore(session.subscribe, session.get);
  useEffect(() => {
    // Data of before stay beside an error: a session that has ended must not begin again because it was asked about.
    if (me.data && !me.error) session.begin();
    else if (me.error instanceof Problem && me.error.status === 401 && session.get() === "unknown") session.end();
  }, [me.data, me.error]);

  if (state === "out") return <SignInPage />;
  if (me.data === undefined) {
    if (me.error && !(me.error instanceof Problem && me.error.status === 401)) {
      return <main className={styles.center}><Wrong error={me.error} retry={() => void me.refetch()} /></main>;
    }
    return null;
  }
  return (
    <>
      {children}
      <Modal opened={state === "expired"} onClose={() => undefined} withCloseButton={false} closeOnEscape={false} closeOnClickOutside={false} title="Your session has ended">
        <p className={styles.hint}>Sign in again to go on. What you typed is still there.</p>
        <SignInForm name={me.data.name} />
      </Modal>
    </>
  );
}

function SignInPage() {
  useEffect(() => {
    document.title = "Sign in · Flywheel";
  }, []);
  return (
    <main className={styles.center}>
      <div className={styles.box}>
        <Mark size={34} />
        <h1>Sign in to Flywheel</h1>
        <SignInForm />
        <p className={styles.hint}>The first start of <code className="word">flywheel serve</code> prints a sign-in; an admin adds people with <code className="word">flywheel user create</code>.</p>
      </div>
    </main>
  );
}

function SignInForm({ name: known = "" }: { name?: string }) {
  const client = useQueryClient();
  const previous = useMe();
  const [name, setName] = useState(known);
  const [password, setPassword] = useState("");
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      await signIn(name.trim(), password);
      const me = await client.fetchQuery({ ...meQuery, staleTime: 0 });
      if (previous && previous.id !== me.id) client.removeQueries({ predicate: (query) => query.queryKey[0] !== "me" });
      session.begin();
      void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "me" });
    } catch (e) {
      setError(e);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form className="stack" onSubmit={(event) => void submit(event)}>
      <TextInput label="Name" autoComplete="username" autoFocus={!known} required withAsterisk={false} value={name} onChange={(e) => setName(e.currentTarget.value)} autoCapitalize="none" spellCheck={false} />
      <PasswordInput label="Password" autoComplete="current-password" data-autofocus={known ? true : undefined} required withAsterisk={false} value={password} onChange={(e) => setPassword(e.currentTarget.value)} />
      <Wrong error={error} />
      <Button type="submit" size="sm" loading={busy} fullWidth>Sign in</Button>
    </form>
  );
}
