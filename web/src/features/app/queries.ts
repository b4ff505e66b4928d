import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { get, post, put, remove, request, segment } from "../../api/client";
import type { App, Change, Deployment, Environment, EnvironmentForm, Page, Preview, Values } from "../../api/types";

export const appsQuery = infiniteQueryOptions({
  queryKey: ["apps"],
  queryFn: ({ pageParam }) => get<Page<App>>("/apps", { cursor: pageParam, limit: 200 }),
  initialPageParam: "",
  getNextPageParam: (page) => page.next || undefined,
});
export const appQuery = (app: string) => queryOptions({ queryKey: ["apps", app], queryFn: () => get<App>(`/apps/${segment(app)}`) });
export const formQuery = (app: string) =>
  queryOptions({ queryKey: ["apps", app, "form"], queryFn: () => get<{ environments: EnvironmentForm[] }>(`/apps/${segment(app)}/form`) });
export const environmentsQuery = queryOptions({ queryKey: ["environments"], queryFn: () => get<Page<Environment>>("/environments") });

export interface NewApp {
  name: string;
  title?: string;
  team: string;
  pattern: string;
  version?: string;
  environments?: string[];
}
export const createApp = (body: NewApp) => post<{ app: App; change: string }>("/apps", body);

export interface Proposal {
  title: string;
  environments: Record<string, Values>;
  version?: string;
  story?: string;
}
export const propose = (app: string, body: Proposal) => post<Change>(`/apps/${segment(app)}/changes`, body);
export const preview = (app: string, body: Proposal) => post<Preview>(`/apps/${segment(app)}/changes/preview`, body);

const at = (app: string, environment: string) => `/apps/${segment(app)}/environments/${segment(environment)}`;
export const rollBack = (app: string, environment: string, to?: string) => post<Deployment>(`${at(app, environment)}/rollback`, to ? { to } : {});
export const redeploy = (app: string, environment: string) => request<Deployment>("POST", `${at(app, environment)}/redeploy`);
export const removeEnvironment = (app: string, environment: string) => remove<Change>(at(app, environment));
export const removeApp = (app: string) => remove<Change>(`/apps/${segment(app)}`);

export interface Secret {
  name: string;
  version: number;
  updated_at: string;
}
export const secretsQuery = (app: string, environment: string) =>
  queryOptions({ queryKey: ["apps", app, "secrets", environment], queryFn: () => get<Page<Secret>>(`${at(app, environment)}/secrets`) });
export const setSecret = (app: string, environment: string, name: string, value: string) =>
  put<unknown>(`${at(app, environment)}/secrets/${segment(name)}`, { value });
export const removeSecret = (app: string, environment: string, name: string) => remove<void>(`${at(app, environment)}/secrets/${segment(name)}`);
