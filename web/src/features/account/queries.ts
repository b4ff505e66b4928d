import { queryOptions, useQuery } from "@tanstack/react-query";
import { anonymous, data } from "../../api/client";
import type { Me } from "../../api/types";

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
