// Dialogs in which somebody does something: what goes wrong is said there, and what was typed stays.
import { ActionIcon, Button, Menu, Modal } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconDots } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRef, useState, type FormEvent, type ReactNode } from "react";
import { Problem } from "../api/client";
import { Wrong } from "./parts";

/** Does something and then fetches everything anew that it may have changed. */
export function useAct<A, R>(act: (argument: A) => Promise<R>, done?: string | ((result: R) => void)) {
  const client = useQueryClient();
  const refetch = () => void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "me" });
  return useMutation({
    mutationFn: act,
    onError: (error) => {
      if (error instanceof Problem && error.status === 412) refetch(); // what was read is old
    },
    onSuccess: (result: R) => {
      refetch();
      if (typeof done === "string") notifications.show({ message: done, autoClose: 4000, withBorder: true });
      else done?.(result);
    },
  });
}

/** A button that opens a dialog, which asks before it acts. Its children may be a function of what the
 *  last attempt failed with, to say it at the field. */
export function Confirm<R>({ label, title, children, go, act, done, begin, danger, variant = "default", leftSection, ready = true, size, icon }: {
  label: string; title: string; children: ReactNode | ((problem?: Problem) => ReactNode); go: string; act: () => Promise<R>; done?: string | ((result: R) => void);
  begin?: () => void; danger?: boolean; variant?: string; leftSection?: ReactNode; ready?: boolean; size?: string; icon?: ReactNode; // instead of the label, which then is its name
}) {
  const [opened, setOpened] = useState(false);
  const run = useAct(act, done);
  const open = () => {
    run.reset();
    begin?.();
    setOpened(true);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    event.stopPropagation(); // of a form around the button, as React sees it
    if (ready) run.mutate(undefined as never, { onSuccess: () => setOpened(false) });
  };
  return (
    <>
      {icon ? <ActionIcon variant="subtle" color="gray" aria-label={label} onClick={open}>{icon}</ActionIcon>
        : <Button variant={variant} color={danger && variant !== "default" ? "red.8" : undefined} leftSection={leftSection} size={size ?? "xs"} onClick={open}>{label}</Button>}
      <Modal opened={opened} onClose={() => setOpened(false)} title={title}>
        <form className="stack" onSubmit={submit}>
          {typeof children === "function" ? children(run.error instanceof Problem ? run.error : undefined) : children}
          <Wrong error={run.error} />
          <div className="line"><Button type="submit" color={danger ? "red.8" : undefined} loading={run.isPending} disabled={!ready}>{go}</Button><Button variant="subtle" color="gray" onClick={() => setOpened(false)}>Cancel</Button></div>
        </form>
      </Modal>
    </>
  );
}

/** The menu of what is seldom done. Each item opens a dialog, which gives the focus back to the menu's
 *  button: the item is gone by then. */
export function More({ label, items, framed }: { label: string; items: { label: string; icon: ReactNode; go: () => void }[]; framed?: boolean }) {
  const button = useRef<HTMLButtonElement>(null);
  return (
    <Menu position="bottom-end">
      <Menu.Target><ActionIcon ref={button} variant={framed ? "default" : "subtle"} color="gray" size={framed ? 30 : undefined} aria-label={label}><IconDots size={16} /></ActionIcon></Menu.Target>
      <Menu.Dropdown>{items.map(({ label, icon, go }) => <Menu.Item key={label} leftSection={icon} onClick={() => { button.current?.focus(); go(); }}>{label}</Menu.Item>)}</Menu.Dropdown>
    </Menu>
  );
}
