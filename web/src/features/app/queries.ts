import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, data, every, tagged } from "../../api/client";
import type { EnvironmentBody, EnvironmentForm, Form, NewApp, NewWaiver, Waiver } from "../../api/types";

export const appsQuery = infiniteQueryOptions({
  queryKey: ["app"],
  queryFn: ({ pageParam }) => data(api.GET("/api/v1/apps", { params: { query: { limit: 200, cursor: pageParam } } })),
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page) => page.next || undefined,
  select: ({ pages }) => pages.flatMap((page) => page.items),
});
/** Apps by a part of their name, title or team, and of a team: asked of the server, as there may be many more
 *  than a page has read. */
export const appsWhere = (filter: { q?: string; team?: string }) =>
  infiniteQueryOptions({
    queryKey: ["app", filter],
    queryFn: ({ pageParam }) => data(api.GET("/api/v1/apps", { params: { query: { ...filter, limit: 200, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next || undefined,
    select: ({ pages }) => pages.flatMap((page) => page.items),
  });
export const appQuery = (app: string) =>
  queryOptions({ queryKey: ["app", app], queryFn: () => data(api.GET("/api/v1/apps/{app}", { params: { path: { app } } })) });
export const formQuery = (app: string) =>
  queryOptions({
    queryKey: ["app", app, "form"],
    queryFn: async () => ((await data(api.GET("/api/v1/apps/{app}/form", { params: { path: { app } } }))).environments) as EnvironmentForm[],
  });
export const environmentsQuery = queryOptions({ queryKey: ["environment"], queryFn: () => every((cursor) => api.GET("/api/v1/environments", { params: { query: { limit: 200, cursor } } })) });

export const environmentQuery = (environment: string) =>
  queryOptions({ queryKey: ["environment", environment], queryFn: () => tagged(api.GET("/api/v1/environments/{environment}", { params: { path: { environment } } })) });

export const createApp = (body: NewApp) => data(api.POST("/api/v1/apps", { body }));
export const propose = (app: string, body: Form) => data(api.POST("/api/v1/apps/{app}/changes", { params: { path: { app } }, body }));
export const preview = (app: string, body: Form) => data(api.POST("/api/v1/apps/{app}/changes/preview", { params: { path: { app } }, body }));

const at = (app: string, environment: string) => ({ path: { app, environment } });
export const rollBack = (app: string, environment: string, to?: string) =>
  data(api.POST("/api/v1/apps/{app}/environments/{environment}/rollback", { params: at(app, environment), body: { to } }));
export const redeploy = (app: string, environment: string) =>
  data(api.POST("/api/v1/apps/{app}/environments/{environment}/redeploy", { params: at(app, environment) }));
export const removeEnvironment = (app: string, environment: string) =>
  data(api.DELETE("/api/v1/apps/{app}/environments/{environment}", { params: at(app, environment) }));
export const giveApp = (app: string, team: string) => data(api.PUT("/api/v1/apps/{app}/team", { params: { path: { app } }, body: { team } }));
export const removeApp = (app: string) => data(api.DELETE("/api/v1/apps/{app}", { params: { path: { app } } }));

/** Secrets of an app in an environment, or without an app of the environment itself. */
export const secretsQuery = (environment: string, app?: string) =>
  queryOptions({
    queryKey: ["secret", { app, environment }],
    queryFn: () =>
      every((cursor) => {
        const query = { limit: 200, cursor };
        return app
          ? api.GET("/api/v1/apps/{app}/environments/{environment}/secrets", { params: { ...at(app, environment), query } })
          : api.GET("/api/v1/environments/{environment}/secrets", { params: { path: { environment }, query } });
      }),
  });
export const setSecret = (environment: string, name: string, value: string, app?: string) =>
  data(
    app
      ? api.PUT("/api/v1/apps/{app}/environments/{environment}/secrets/{name}", { params: { path: { app, environment, name } }, body: { value } })
      : api.PUT("/api/v1/environments/{environment}/secrets/{name}", { params: { path: { environment, name } }, body: { value } }),
  );
export const removeSecret = (environment: string, name: string, app?: string) =>
  data(
    app
      ? api.DELETE("/api/v1/apps/{app}/environments/{environment}/secrets/{name}", { params: { path: { app, environment, name } } })
      : api.DELETE("/api/v1/environments/{environment}/secrets/{name}", { params: { path: { environment, name } } }),
  );

export const createEnvironment = (body: EnvironmentBody) => data(api.POST("/api/v1/environments", { body }));
export const updateEnvironment = (environment: string, body: EnvironmentBody, etag: string) =>
  data(api.PUT("/api/v1/environments/{environment}", { params: { path: { environment }, header: { "If-Match": etag } }, body }));
export const deleteEnvironment = (environment: string) => data(api.DELETE("/api/v1/environments/{environment}", { params: { path: { environment } } }));

export const waiversQuery = (filter: { app?: string; environment?: string; state?: string }) =>
  infiniteQueryOptions({
    queryKey: ["waiver", filter],
    queryFn: ({ pageParam }) => data(api.GET("/api/v1/waivers", { params: { query: { ...filter, state: filter.state as Waiver["state"] | undefined, limit: 50, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next || undefined,
    select: ({ pages }) => pages.flatMap((page) => page.items),
  });
export const askWaiver = (body: NewWaiver) => data(api.POST("/api/v1/waivers", { body }));
const waiver = (id: string) => ({ path: { waiver: id } });
export const grantWaiver = (id: string, until: string, reason: string) => data(api.POST("/api/v1/waivers/{waiver}/grant", { params: waiver(id), body: { until, reason: reason || undefined } }));
export const declineWaiver = (id: string, reason: string) => data(api.POST("/api/v1/waivers/{waiver}/decline", { params: waiver(id), body: { reason } }));
export const revokeWaiver = (id: string, reason: string) => data(api.POST("/api/v1/waivers/{waiver}/revoke", { params: waiver(id), body: { reason } }));
