// The frame around every page: navigation, search, who is signed in, and whether what is shown is live.
import { ActionIcon, Drawer, Menu, Modal, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import {
  IconApps, IconCalendarCheck, IconChevronDown, IconCode, IconKey, IconListCheck, IconMessageQuestion, IconSettings, IconStack2, IconUser, IconUsersGroup, IconDeviceDesktop, IconGitPullRequest, IconHome, IconLogout, IconMenu2, IconMoon, IconRocket, IconSearch, IconSun, IconBlocks, IconBook2, IconKeyboard,
} from "@tabler/icons-react";
import { useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useRef, useState, type ReactNode } from "react";
import { follow, type Connection } from "../api/live";
import { session } from "../api/session";
import { may, signOut, useMe } from "../features/account/queries";
import { Mark } from "./Mark";
import { Avatar, Page, Wrong } from "./parts";
import { useKeys } from "./keys";

const Palette = lazy(() => import("./Palette"));

interface Place {
  to: string;
  label: string;
  key: string;
  icon: typeof IconHome;
  group: "" | "Platform" | "You"; // what is "You" stands in the menu of the person
  needs?: string;
}

/** Every page that has a name, in the order of the navigation. */
export const places: Place[] = [
  { to: "/", label: "Home", key: "h", icon: IconHome, group: "" },
  { to: "/apps", label: "Apps", key: "a", icon: IconApps, group: "" },
  { to: "/changes", label: "Changes", key: "c", icon: IconGitPullRequest, group: "" },
  { to: "/deployments", label: "Deployments", key: "d", icon: IconRocket, group: "" },
  { to: "/stories", label: "Stories", key: "s", icon: IconBook2, group: "" },
  { to: "/patterns", label: "Patterns", key: "p", icon: IconBlocks, group: "Platform" },
  { to: "/pattern-requests", label: "Requests", key: "r", icon: IconMessageQuestion, group: "Platform" },
  { to: "/waivers", label: "Waivers", key: "w", icon: IconCalendarCheck, group: "Platform" },
  { to: "/environments", label: "Environments", key: "e", icon: IconStack2, group: "Platform" },
  { to: "/teams", label: "Teams", key: "t", icon: IconUsersGroup, group: "Platform" },
  { to: "/users", label: "People", key: "u", icon: IconUser, group: "Platform" },
  { to: "/audit", label: "Audit log", key: "l", icon: IconListCheck, group: "Platform", needs: "view_audit" },
  { to: "/tokens", label: "Tokens", key: "k", icon: IconKey, group: "You" },
  { to: "/settings", label: "Settings", key: ",", icon: IconSettings, group: "You" },
  { to: "/docs/api", label: "API", key: "i", icon: IconCode, group: "You" },
];

export const shortcuts: [string[], string][] = [
  [["Ctrl", "K"], "Find an app, a pattern, a change, or something to do"],
  [["/"], "The same"],
  [["?"], "These shortcuts"],
  ...places.map(({ key, label }): [string[], string] => [["g", key], `Go to ${label === "API" ? "the API" : label.toLowerCase()}`]),
  [["n", "a"], "New app"],
  [["n", "s"], "New story"],
];

export function Shell() {
  const [connection, setConnection] = useState<Connection>("connecting");
  const [palette, setPalette] = useState(false);
  const [used, setUsed] = useState(false);
  const [help, { open: openHelp, close: closeHelp }] = useDisclosure(false);
  const [menu, { open: openMenu, close: closeMenu }] = useDisclosure(false);
  const menuButton = useRef<HTMLButtonElement>(null);
  const client = useQueryClient();
  const me = useMe();
  const navigate = useNavigate();
  const path = useRouterState({ select: (state) => state.location.pathname });
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);

  useEffect(() => follow(client, setConnection), [client]);
  useEffect(() => {
    closeMenu();
    // Readers of a screen begin at the new page, not where the link was.
    if (!first.current) main.current?.focus({ preventScroll: true });
    first.current = false;
  }, [path, closeMenu]);

  const find = () => {
    setUsed(true);
    setPalette(true);
  };
  useKeys({
    "mod+k": find,
    "/": find,
    "?": openHelp,
    ...Object.fromEntries(places.map(({ key, to }) => [`g ${key}`, () => void navigate({ to })])),
    "n a": () => void navigate({ to: "/apps/new" }),
    "n s": () => void navigate({ to: "/stories" }),
  });

  const leaveMenu = () => {
    if (!menu) return;
    closeMenu();
    main.current?.focus({ preventScroll: true });
  };
  const navigation = (["", "Platform"] as const).map((group) => (
    <div key={group} className="nav-group" role={group ? "group" : undefined} aria-label={group || undefined}>
      {group && <span className="nav-title" aria-hidden>{group}</span>}
      {places.filter((place) => place.group === group && (!place.needs || may(me, place.needs))).map(({ to, label, icon: Icon }) => (
        <Link key={to} to={to} className="nav" onClick={leaveMenu} activeProps={{ className: "active" }} activeOptions={{ exact: to === "/" }}>
          <Icon size={16} stroke={1.8} aria-hidden />
          {label}
        </Link>
      ))}
    </div>
  ));
  const foot = (
    <div className="foot">
      <Live connection={connection} />
      <UserMenu help={openHelp} />
    </div>
  );

  return (
    <>
      <a className="skip" href="#main">Skip to the page</a>
      <div className="frame">
        <nav className="side" aria-label="Main">
          <Link to="/" className="brand"><Mark />Flywheel</Link>
          <button type="button" className="find" onClick={find}>
            <IconSearch size={14} aria-hidden />
            Find
            <span className="push"><kbd>Ctrl</kbd> <kbd>K</kbd></span>
          </button>
          {navigation}
          {foot}
        </nav>
        <nav className="topbar" aria-label="Top">
          <ActionIcon variant="subtle" color="gray" size="lg" aria-label="Menu" ref={menuButton} onClick={openMenu}><IconMenu2 size={18} /></ActionIcon>
          <Link to="/" className="line"><Mark />Flywheel</Link>
          <span className="push"><Live connection={connection} quiet /></span>
          <ActionIcon variant="subtle" color="gray" size="lg" aria-label="Find" onClick={find}><IconSearch size={18} /></ActionIcon>
        </nav>
        <main className="main" id="main" tabIndex={-1} ref={main}><Outlet /></main>
      </div>
      <Drawer opened={menu} returnFocus={false /* a link in it leads to the page, not back to the button */} onClose={() => { closeMenu(); menuButton.current?.focus(); }} title="Flywheel" size={260} closeButtonProps={{ "aria-label": "Close" }}>
        <nav aria-label="Main">{navigation}</nav>
        {foot}
      </Drawer>
      {used && <Suspense><Palette opened={palette} close={() => setPalette(false)} help={openHelp} /></Suspense>}
      <Modal opened={help} onClose={closeHelp} title="Keyboard shortcuts" size="sm">
        <table className="table">
          <thead className="hidden"><tr><th>Keys</th><th>What they do</th></tr></thead>
          <tbody>
            {shortcuts.map(([keys, text]) => (
              <tr key={keys.join()}><td className="nowrap">{keys.map((key) => <span key={key}><kbd>{key}</kbd> </span>)}</td><td>{text}</td></tr>
            ))}
          </tbody>
        </table>
      </Modal>
    </>
  );
}

function Live({ connection, quiet }: { connection: Connection; quiet?: boolean }) {
  const text = { live: "Live", connecting: "Connecting", reconnecting: "Reconnecting" }[connection];
  return (
    <span className="connection" role="status" title={connection === "live" ? "What changes elsewhere changes here" : "What is shown may be old until the connection is back"}>
      <span className={`dot ${connection}`} />
      <span className={quiet && connection === "live" ? "hidden" : undefined}>{text}</span>
    </span>
  );
}

function UserMenu({ help }: { help: () => void }) {
  const me = useMe();
  const client = useQueryClient();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const button = useRef<HTMLButtonElement>(null);
  const leave = async () => {
    await signOut().catch(() => undefined);
    session.end();
    client.clear();
  };
  const schemes: [typeof colorScheme, string, ReactNode][] = [
    ["light", "Light", <IconSun key="i" size={15} />], ["dark", "Dark", <IconMoon key="i" size={15} />], ["auto", "Like the system", <IconDeviceDesktop key="i" size={15} />],
  ];
  return (
    <Menu position="top-start" width={210} shadow="md">
      <Menu.Target>
        <button type="button" className="nav user" ref={button}>
          <Avatar name={me?.title || me?.name || ""} />
          <span className="clip">{me?.title || me?.name}</span>
          <IconChevronDown size={14} aria-hidden className="push" />
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{me?.name}{me?.admin ? " · admin" : ""}{me?.disciplines?.map((d) => ` · ${d}`)}</Menu.Label>
        {schemes.map(([scheme, label, icon]) => (
          <Menu.Item key={scheme} leftSection={icon} onClick={() => setColorScheme(scheme)} rightSection={colorScheme === scheme ? "✓" : undefined}>{label}</Menu.Item>
        ))}
        <Menu.Divider />
        {places.filter(({ group }) => group === "You").map(({ to, label, icon: Icon }) => <Menu.Item key={to} leftSection={<Icon size={15} />} component={Link} to={to}>{label}</Menu.Item>)}
        <Menu.Item leftSection={<IconKeyboard size={15} />} onClick={() => { button.current?.focus(); help(); }} rightSection={<kbd>?</kbd>}>Keyboard shortcuts</Menu.Item>
        <Menu.Item leftSection={<IconLogout size={15} />} onClick={() => void leave()}>Sign out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

export function Missing() {
  return (
    <Page title="Not found">
      <p>There is nothing at this address, or it is not yours to see. <Link to="/" className="link">Go home</Link></p>
    </Page>
  );
}

export function Broken({ error }: { error: unknown }) {
  return <Page title="Something went wrong"><Wrong error={error} retry={() => window.location.reload()} /></Page>;
}
