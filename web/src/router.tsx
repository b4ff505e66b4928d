// Every page with its address. Pages are loaded when they are first visited.
import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { Shell } from "./ui/Shell";
import { Missing, Broken } from "./ui/Shell";

const root = createRootRoute({ component: Shell, notFoundComponent: Missing, errorComponent: Broken });

/** Filters of a list, as they stand in its address. */
const filters = <K extends string>(...keys: K[]) => (search: Record<string, unknown>): { [key in K]?: string } =>
  Object.fromEntries(keys.filter((key) => search[key] !== undefined && search[key] !== "").map((key) => [key, String(search[key])])) as { [key in K]?: string };

const parent = () => root;
const routes = [
  createRoute({ getParentRoute: parent, path: "/", component: lazyRouteComponent(() => import("./features/home/Home")) }),
  createRoute({ getParentRoute: parent, path: "/apps", validateSearch: filters("q", "team"), component: lazyRouteComponent(() => import("./features/app/Apps")) }),
  createRoute({ getParentRoute: parent, path: "/apps/new", validateSearch: filters("pattern"), component: lazyRouteComponent(() => import("./features/app/NewApp")) }),
  createRoute({ getParentRoute: parent, path: "/apps/$app", component: lazyRouteComponent(() => import("./features/app/AppPage")) }),
  createRoute({ getParentRoute: parent, path: "/apps/$app/variables", validateSearch: filters("version"), component: lazyRouteComponent(() => import("./features/app/Variables")) }),
  createRoute({ getParentRoute: parent, path: "/changes", validateSearch: filters("kind", "subject", "state", "story"), component: lazyRouteComponent(() => import("./features/change/Changes")) }),
  createRoute({ getParentRoute: parent, path: "/changes/$change", component: lazyRouteComponent(() => import("./features/change/ChangePage")) }),
  createRoute({ getParentRoute: parent, path: "/deployments", validateSearch: filters("app", "environment", "change", "state"), component: lazyRouteComponent(() => import("./features/deploy/Deployments")) }),
  createRoute({ getParentRoute: parent, path: "/deployments/$deployment", component: lazyRouteComponent(() => import("./features/deploy/DeploymentPage")) }),
  createRoute({ getParentRoute: parent, path: "/patterns", component: lazyRouteComponent(() => import("./features/pattern/Patterns")) }),
  createRoute({ getParentRoute: parent, path: "/patterns/$pattern", component: lazyRouteComponent(() => import("./features/pattern/PatternPage")) }),
  createRoute({ getParentRoute: parent, path: "/patterns/$pattern/$version", component: lazyRouteComponent(() => import("./features/pattern/VersionPage")) }),
  createRoute({ getParentRoute: parent, path: "/patterns/new", component: lazyRouteComponent(() => import("./features/pattern/NewPattern")) }),
  createRoute({ getParentRoute: parent, path: "/pattern-requests", validateSearch: filters("state", "request"), component: lazyRouteComponent(() => import("./features/pattern/Requests")) }),
  createRoute({ getParentRoute: parent, path: "/waivers", validateSearch: filters("state", "app", "environment"), component: lazyRouteComponent(() => import("./features/app/Waivers")) }),
  createRoute({ getParentRoute: parent, path: "/environments", component: lazyRouteComponent(() => import("./features/app/Environments")) }),
  createRoute({ getParentRoute: parent, path: "/environments/new", component: lazyRouteComponent(() => import("./features/app/EnvironmentPage")) }),
  createRoute({ getParentRoute: parent, path: "/environments/$environment", component: lazyRouteComponent(() => import("./features/app/EnvironmentPage")) }),
  createRoute({ getParentRoute: parent, path: "/users", validateSearch: filters("q", "show"), component: lazyRouteComponent(() => import("./features/account/Users")) }),
  createRoute({ getParentRoute: parent, path: "/users/$user", component: lazyRouteComponent(() => import("./features/account/UserPage")) }),
  createRoute({ getParentRoute: parent, path: "/teams", component: lazyRouteComponent(() => import("./features/account/Teams")) }),
  createRoute({ getParentRoute: parent, path: "/teams/$team", component: lazyRouteComponent(() => import("./features/account/TeamPage")) }),
  createRoute({ getParentRoute: parent, path: "/tokens", component: lazyRouteComponent(() => import("./features/account/Tokens")) }),
  createRoute({ getParentRoute: parent, path: "/settings", component: lazyRouteComponent(() => import("./features/account/Settings")) }),
  createRoute({ getParentRoute: parent, path: "/audit", validateSearch: filters("subject", "person", "action", "requestId"), component: lazyRouteComponent(() => import("./features/account/Audit")) }),
  createRoute({ getParentRoute: parent, path: "/stories", component: lazyRouteComponent(() => import("./features/backlog/Stories")) }),
  createRoute({ getParentRoute: parent, path: "/docs/api", validateSearch: filters("q"), component: lazyRouteComponent(() => import("./features/api/Reference")) }),
] as const;

export const router = createRouter({
  routeTree: root.addChildren(routes),
  defaultPreload: "intent",
  scrollRestoration: true,
  defaultPendingMs: 300,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
