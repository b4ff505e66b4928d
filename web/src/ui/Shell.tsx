// The frame around every page: navigation, search, who is signed in, and whether what is shown is live.
import { ActionIcon, Drawer, Menu, Modal, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import {
  IconApps, IconChevronDown, IconDeviceDesktop, IconGitPullRequest, IconHome, IconLogout, IconMenu2, IconMoon, IconRocket, IconSearch, IconSun, IconBlocks, IconBook2, IconKeyboard,
} from "@tabler/icons-react";
import { useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useRef, useState, type ReactNode } from "react";
import { follow, type Connection } from "../api/live";
import { session } from "../api/session";
import { signOut, useMe } from "../features/account/queries";
import { Mark } from "./Mark";
import { Page, Wrong } from "./parts";
import { useKeys } from "./keys";

const Palette = lazy(() => import("./Palette"));

export const places = [
  { to: "/", label: "Home", key: "h", icon: IconHome },
  { to: "/apps", label: "Apps", key: "a", icon: IconApps },
  { to: "/changes", label: "Changes", key: "c", icon: IconGitPullRequest },
  { to: "/deployments", label: "Deployments", key: "d", icon: IconRocket },
  { to: "/patterns", label: "Patterns", key: "p", icon: IconBlocks },
  { to: "/stories", label: "Stories", key: "s", icon: IconBook2 },
] as const;

export const shortcuts: [string[], string][] = [
  [["Ctrl", "K"], "Find an app, a pattern, a change, or something to do"],
  [["/"], "The same"],
  [["?"], "These shortcuts"],
  ...places.map(({ key, label }): [string[], string] => [["g", key], `Go to ${label.toLowerCase()}`]),
  [["n", "a"], "New app"],
  [["n", "s"], "New story"],
];

export function Shell() {
  const [connection, setConnection] = useState<Connection>("connecting");
  const [palette, setPalette] = useState(false);
  const [used, setUsed] = useState(false);
  const [help, { open: openHelp, close: closeHelp }] = useDisclosure(false);
  const [menu, { open: openMenu, close: closeMenu }] = useDisclosure(false);
  const client = useQueryClient();
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

  const navigation = (
    <>
      {places.map(({ to, label, icon: Icon }) => (
        <Link key={to} to={to} className="nav" activeProps={{ className: "active" }} activeOptions={{ exact: to === "/" }}>
          <Icon size={16} stroke={1.8} aria-hidden />
          {label}
        </Link>
      ))}
    </>
  );
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
          <ActionIcon variant="subtle" color="gray" size="lg" aria-label="Menu" onClick={openMenu}><IconMenu2 size={18} /></ActionIcon>
          <Link to="/" className="line"><Mark />Flywheel</Link>
          <span className="push"><Live connection={connection} quiet /></span>
          <ActionIcon variant="subtle" color="gray" size="lg" aria-label="Find" onClick={find}><IconSearch size={18} /></ActionIcon>
        </nav>
        <main className="main" id="main" tabIndex={-1} ref={main}><Outlet /></main>
      </div>
      <Drawer opened={menu} onClose={closeMenu} title="Flywheel" size={260} closeButtonProps={{ "aria-label": "Close" }}>
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
        <button type="button" className="nav user">
          <span className="avatar" aria-hidden>{(me?.title || me?.name || "?").charAt(0).toUpperCase()}</span>
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
        <Menu.Item leftSection={<IconKeyboard size={15} />} onClick={help} rightSection={<kbd>?</kbd>}>Keyboard shortcuts</Menu.Item>
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
