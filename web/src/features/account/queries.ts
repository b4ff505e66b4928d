import { infiniteQueryOptions, queryOptions, useQuery } from "@tanstack/react-query";
import { anonymous, api, data, tagged } from "../../api/client";
import type { Me, NewToken, Role } from "../../api/types";

export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: () => data(anonymous.GET("/api/v1/me")),
  staleTime: 60_000,
  retry: false,
});

export function useMe(): Me | undefined {
  return useQuery(meQuery).data;
}

/** Whether the person may do it to what belongs to the team, or to what belongs to none. Pages use it
 *  to hide what cannot be done; the server decides. */
export function may(me: Me | undefined, permission: string, team?: string): boolean {
  if (!me) return false;
  return (team === undefined ? me.may : me.mayInTeam[team])?.includes(permission) ?? false;
}

/** The teams for which the person may do it. */
export function teamsWhere(me: Me | undefined, permission: string): string[] {
  return Object.keys(me?.mayInTeam ?? {}).filter((team) => may(me, permission, team)).sort();
}

export const signIn = (name: string, password: string) => data(anonymous.POST("/api/v1/session", { body: { name, password } }));
export const signOut = () => data(anonymous.DELETE("/api/v1/session"));
export const changePassword = (present: string, next: string) => data(api.PUT("/api/v1/me/password", { body: { present, next } }));

export const sessionsQuery = queryOptions({ queryKey: ["session"], queryFn: async () => (await data(api.GET("/api/v1/sessions", { params: { query: { limit: 200 } } }))).items });
export const endSession = (session: string) => data(api.DELETE("/api/v1/sessions/{session}", { params: { path: { session } } }));
export const endOtherSessions = () => data(api.DELETE("/api/v1/sessions"));

export const disciplines = ["security", "operations", "development"] as const;
export type Discipline = (typeof disciplines)[number];
export const roles: { value: Role; label: string; means: string }[] = [
  { value: "owner", label: "Owner", means: "decides who is in the team" },
  { value: "operator", label: "Operator", means: "releases what is held, removes apps" },
  { value: "developer", label: "Developer", means: "creates apps, changes and deploys them" },
  { value: "viewer", label: "Viewer", means: "sees" },
];

export const usersQuery = infiniteQueryOptions({
  queryKey: ["user"],
  queryFn: ({ pageParam }) => data(api.GET("/api/v1/users", { params: { query: { limit: 200, cursor: pageParam } } })),
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page) => page.next || undefined,
  select: ({ pages }) => pages.flatMap((page) => page.items),
});
export const userQuery = (user: string) =>
  queryOptions({ queryKey: ["user", user], queryFn: () => tagged(api.GET("/api/v1/users/{user}", { params: { path: { user } } })) });
export const createUser = (body: { name: string; title?: string; admin?: boolean; disciplines?: Discipline[] }) => data(api.POST("/api/v1/users", { body }));
export const editUser = (user: string, body: { title?: string; admin?: boolean; disciplines?: Discipline[]; active?: boolean }, etag?: string) =>
  tagged(api.PATCH("/api/v1/users/{user}", { params: { path: { user }, header: { "If-Match": etag } }, body }));
export const resetPassword = (user: string) => data(api.POST("/api/v1/users/{user}/password", { params: { path: { user } } }));

export const teamsQuery = infiniteQueryOptions({
  queryKey: ["team"],
  queryFn: ({ pageParam }) => data(api.GET("/api/v1/teams", { params: { query: { limit: 200, cursor: pageParam } } })),
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page) => page.next || undefined,
  select: ({ pages }) => pages.flatMap((page) => page.items),
});
export const teamQuery = (team: string) =>
  queryOptions({ queryKey: ["team", team], queryFn: () => tagged(api.GET("/api/v1/teams/{team}", { params: { path: { team } } })) });
export const createTeam = (body: { name: string; title?: string }) => data(api.POST("/api/v1/teams", { body }));
export const renameTeam = (team: string, title: string, etag: string) => data(api.PATCH("/api/v1/teams/{team}", { params: { path: { team }, header: { "If-Match": etag } }, body: { title } }));
export const deleteTeam = (team: string) => data(api.DELETE("/api/v1/teams/{team}", { params: { path: { team } } }));
export const putMember = (team: string, user: string, role: Role, etag?: string) =>
  tagged(api.PUT("/api/v1/teams/{team}/members/{user}", { params: { path: { team, user }, header: { "If-Match": etag } }, body: { role } }));
export const deleteMember = (team: string, user: string) => data(api.DELETE("/api/v1/teams/{team}/members/{user}", { params: { path: { team, user } } }));

/** One's own tokens, or for an admin those of another person. */
export const tokensQuery = (user?: string) =>
  queryOptions({ queryKey: ["token", { user }], queryFn: async () => (await data(api.GET("/api/v1/tokens", { params: { query: { limit: 200, user } } }))).items });
export const createToken = (body: NewToken) => data(api.POST("/api/v1/tokens", { body }));
export const deleteToken = (token: string) => data(api.DELETE("/api/v1/tokens/{token}", { params: { path: { token } } }));

export interface AuditFilter {
  subject?: string;
  person?: string;
  action?: string;
  requestId?: string;
}
export const auditQuery = (filter: AuditFilter) =>
  infiniteQueryOptions({
    queryKey: ["audit", filter],
    queryFn: ({ pageParam }) => data(api.GET("/api/v1/audit", { params: { query: { ...filter, limit: 100, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next || undefined,
    select: ({ pages }) => pages.flatMap((page) => page.items),
  });
/** What an earlier verification found, as people keep it elsewhere: a number of entries and a hash. */
export function asKept(text: string): { keptSound: number; keptLast: string } | undefined {
  const [, sound, last] = /^\s*(\d+):([0-9a-f]+)\s*$/i.exec(text) ?? [];
  return sound && last && Number(sound) > 0 ? { keptSound: Number(sound), keptLast: last } : undefined;
}
export const verifyAudit = (kept: string) => data(api.GET("/api/v1/audit/verify", { params: { query: asKept(kept) ?? {} } }));

export const settingsQuery = queryOptions({ queryKey: ["setting"], queryFn: () => data(api.GET("/api/v1/settings")) });
export const editSettings = (body: { fourEyes: boolean }) => data(api.PATCH("/api/v1/settings", { body }));
