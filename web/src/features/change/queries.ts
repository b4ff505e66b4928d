import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, data } from "../../api/client";
import type { Decision } from "../../api/types";

export interface ChangeFilter {
  kind?: string;
  subject?: string;
  state?: string;
  story?: string;
}

export const changesQuery = (filter: ChangeFilter, limit = 100) =>
  infiniteQueryOptions({
    queryKey: ["change", filter, limit],
    queryFn: ({ pageParam }) => data(api.GET("/api/v1/changes", { params: { query: { ...filter, kind: filter.kind as "app" | undefined, state: filter.state as "ready" | undefined, limit, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next || undefined,
    select: ({ pages }) => pages.flatMap((page) => page.items),
  });

const at = (change: string) => ({ path: { change } });
export const changeQuery = (id: string) =>
  queryOptions({ queryKey: ["change", id], queryFn: () => data(api.GET("/api/v1/changes/{change}", { params: at(id) })) });
export const diffQuery = (id: string, head: string) =>
  queryOptions({
    queryKey: ["diff", id, head],
    queryFn: async () => (await data(api.GET("/api/v1/changes/{change}/diff", { params: at(id) }))).files,
    staleTime: Infinity,
  });

export const checkQuery = (id: string, check: string, revision: string) =>
  queryOptions({
    queryKey: ["detail", id, check, revision],
    queryFn: () => data(api.GET("/api/v1/changes/{change}/checks/{check}", { params: { path: { change: id, check } } })),
    staleTime: Infinity,
  });

/** The patch of one file, however long. Reading it to its end counts as having opened it. */
export const wholePatch = (id: string, file: string) =>
  data(api.GET("/api/v1/changes/{change}/diff/file", { params: { ...at(id), query: { file } }, parseAs: "text" })) as unknown as Promise<string>;

export const effectsQuery = (id: string, digest: string) =>
  infiniteQueryOptions({
    queryKey: ["effects", id, digest],
    queryFn: ({ pageParam }) => data(api.GET("/api/v1/changes/{change}/effects", { params: { path: { change: id }, query: { limit: 200, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next || undefined,
    select: ({ pages }) => pages.flatMap((page) => page.items),
  });
export const effectQuery = (id: string, app: string, environment: string, digest: string) =>
  queryOptions({
    queryKey: ["effect", id, app, environment, digest],
    queryFn: () => data(api.GET("/api/v1/changes/{change}/effects/{app}/{environment}", { params: { path: { change: id, app, environment } } })),
    staleTime: Infinity,
  });

export const merge = (id: string) => data(api.POST("/api/v1/changes/{change}/merge", { params: at(id) }));
export const release = (id: string, digest: string, confirm: string) => data(api.POST("/api/v1/changes/{change}/release", { params: at(id), body: { digest, confirm } }));
export const recheck = (id: string) => data(api.POST("/api/v1/changes/{change}/recheck", { params: at(id) }));
export const close = (id: string, reason: string) => data(api.POST("/api/v1/changes/{change}/close", { params: at(id), body: { reason } }));
export const declareFix = (id: string, fixes: string) => data(api.POST("/api/v1/changes/{change}/fix", { params: at(id), body: { fixes } }));
export const approve = (id: string, body: Decision) => data(api.POST("/api/v1/changes/{change}/approve", { params: at(id), body }));
export const reject = (id: string, body: Decision) => data(api.POST("/api/v1/changes/{change}/reject", { params: at(id), body }));
export const requestChanges = (id: string, body: Decision) => data(api.POST("/api/v1/changes/{change}/request-changes", { params: at(id), body }));

/** What happened to a change and its deployments, the first one first. The change stands at the head of the subjects. */
export const eventsQuery = (subjects: string[]) =>
  infiniteQueryOptions({
    queryKey: ["change", subjects[0], "events", subjects],
    queryFn: ({ pageParam }) => data(api.GET("/api/v1/events", { params: { query: { subject: subjects, limit: 200, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next || undefined,
    select: ({ pages }) => pages.flatMap((page) => page.items).reverse(),
    // Of the same change, before its next deployment was known.
    placeholderData: (known, query) => (query?.queryKey[1] === subjects[0] ? known : undefined),
  });
