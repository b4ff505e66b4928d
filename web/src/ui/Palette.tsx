// Ctrl K: one field over everything that has a name, and what can be done.
import { Modal } from "@mantine/core";
import { IconApps, IconBlocks, IconBook2, IconCornerDownLeft, IconGitPullRequest, IconPlus, IconSearch } from "@tabler/icons-react";
import { useDebouncedValue } from "@mantine/hooks";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { may, teamsWhere, useMe } from "../features/account/queries";
import { appsQuery, appsWhere } from "../features/app/queries";
import { storiesQuery } from "../features/backlog/queries";
import { changesQuery } from "../features/change/queries";
import { patternsQuery } from "../features/pattern/queries";
import { places } from "./Shell";
import { match, word } from "./text";

interface Entry {
  id: string;
  kind: string;
  label: string;
  hint?: string;
  icon: ReactNode;
  weight: number;
  go: () => void;
}

export default function Palette({ opened, close, help }: { opened: boolean; close: () => void; help: () => void }) {
  // It gives the focus back only to what had it when it went from closed to open, and the first time it
  // is loaded already open.
  const [open, setOpen] = useState(false);
  useEffect(() => setOpen(opened), [opened]);
  return (
    <Modal.Root opened={open} onClose={close} padding={0} size={620} yOffset="12vh" transitionProps={{ duration: 80 }}>
      <Modal.Overlay backgroundOpacity={0.4} />
      <Modal.Content aria-label="Find"><Modal.Body>{opened && <Finder close={close} help={help} />}</Modal.Body></Modal.Content>
    </Modal.Root>
  );
}

function Finder({ close, help }: { close: () => void; help: () => void }) {
  const navigate = useNavigate();
  const me = useMe();
  const apps = useInfiniteQuery(appsQuery);
  const patterns = useQuery(patternsQuery);
  const changes = useInfiniteQuery(changesQuery({}, 100));
  const stories = useInfiniteQuery(storiesQuery);
  const [query, setQuery] = useState("");
  const [asked] = useDebouncedValue(query.trim(), 150);
  // Of more apps than the first page has, those with what was typed are asked for.
  const others = useInfiniteQuery({ ...appsWhere({ q: asked }), enabled: asked !== "" && !!apps.hasNextPage });
  const [at, setAt] = useState(0);
  const list = useRef<HTMLUListElement>(null);

  const entries = useMemo(() => {
    const all: Entry[] = [];
    const size = 16;
    const first = new Set(apps.data?.map(({ id }) => id));
    for (const app of [...(apps.data ?? []), ...(others.data ?? []).filter(({ id }) => !first.has(id))]) {
      all.push({ id: app.id, kind: "App", label: app.name, hint: app.title === app.name ? app.team : `${app.title} · ${app.team}`, icon: <IconApps size={size} />, weight: 1.2, go: () => void navigate({ to: "/apps/$app", params: { app: app.name } }) });
    }
    for (const pattern of patterns.data ?? []) {
      all.push({ id: pattern.name, kind: "Pattern", label: pattern.name, hint: pattern.title, icon: <IconBlocks size={size} />, weight: 1.1, go: () => void navigate({ to: "/patterns/$pattern", params: { pattern: pattern.name } }) });
    }
    for (const change of changes.data ?? []) {
      all.push({ id: change.id, kind: "Change", label: change.title, hint: `${change.subject} · ${word(change.state).toLowerCase()} · ${change.id}`, icon: <IconGitPullRequest size={size} />, weight: 0.9, go: () => void navigate({ to: "/changes/$change", params: { change: change.id } }) });
    }
    for (const story of stories.data ?? []) {
      all.push({ id: story.id, kind: "Story", label: story.title, hint: story.key, icon: <IconBook2 size={size} />, weight: 0.9, go: () => void navigate({ to: "/changes", search: { story: story.key } }) });
    }
    for (const { to, label, icon: Icon, needs } of places) {
      if (needs && !may(me, needs)) continue;
      all.push({ id: to, kind: "Go to", label, icon: <Icon size={size} />, weight: 1, go: () => void navigate({ to }) });
    }
    const doing = (id: string, label: string, to: string) => all.push({ id, kind: "Do", label, icon: <IconPlus size={size} />, weight: 1, go: () => void navigate({ to }) });
    if (teamsWhere(me, "create_app").length > 0) doing("new-app", "Create an app", "/apps/new");
    if (teamsWhere(me, "plan_stories").length > 0) doing("new-story", "Write a story", "/stories");
    if (may(me, "create_pattern")) doing("new-pattern", "Create a pattern", "/patterns/new");
    if (may(me, "manage_environments")) doing("new-environment", "Make an environment", "/environments/new");
    doing("password", "Change your password", "/settings");
    all.push({ id: "help", kind: "Do", label: "Show keyboard shortcuts", icon: <IconSearch size={size} />, weight: 0.8, go: help });
    return all;
  }, [apps.data, others.data, patterns.data, changes.data, stories.data, me, navigate, help]);

  const found = useMemo(
    () => entries
      .map((entry) => ({ entry, score: Math.max(match(query, entry.label), match(query, entry.id) * 0.9, match(query, entry.hint ?? "") * 0.5) * entry.weight }))
      .filter(({ score }) => score > 0)
      .sort((a, b) => (query ? b.score - a.score : 0))
      .slice(0, 40)
      .map(({ entry }) => entry),
    [entries, query],
  );
  const chosen = Math.min(at, found.length - 1);
  useEffect(() => {
    list.current?.children[chosen]?.scrollIntoView({ block: "nearest" });
  }, [chosen]);

  const choose = (entry?: Entry) => {
    if (!entry) return;
    close();
    entry.go();
  };
  const press = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      setAt((chosen + step + found.length) % Math.max(found.length, 1));
    } else if (event.key === "Enter") {
      event.preventDefault();
      choose(found[chosen]);
    }
  };
  return (
    <>
      <div className="palette-field">
        <IconSearch size={17} aria-hidden />
        <input
          data-autofocus role="combobox" aria-expanded aria-controls="palette" aria-autocomplete="list" aria-label="Find an app, a pattern, a change, a story, or something to do"
          aria-activedescendant={found[chosen] ? `palette-${chosen}` : undefined} placeholder="Find an app, a pattern, a change, or something to do"
          value={query} onKeyDown={press} spellCheck={false} autoComplete="off"
          onChange={(event) => {
            setQuery(event.currentTarget.value);
            setAt(0);
          }}
        />
      </div>
      <ul className="palette" id="palette" role="listbox" aria-label="Found" ref={list} tabIndex={-1}>
        {found.map((entry, i) => (
          <li key={`${entry.kind} ${entry.id}`} id={`palette-${i}`} role="option" aria-selected={i === chosen} onMouseMove={() => setAt(i)} onClick={() => choose(entry)}>
            {entry.icon}
            <span className="clip">{entry.label}</span>
            {entry.hint && <span className="dim small clip">{entry.hint}</span>}
            <span className="push dim small nowrap">{i === chosen ? <IconCornerDownLeft size={14} aria-hidden /> : entry.kind}</span>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p className="palette-none dim" role="status">Nothing has that name.</p>}
    </>
  );
}
