import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { get, post, request, segment } from "../../api/client";
import type { Change, ChangeDetail, FileDiff, Page } from "../../api/types";

export interface ChangeFilter {
  kind?: string;
  subject?: string;
  state?: string;
  story?: string;
}

export const changesQuery = (filter: ChangeFilter, limit = 100) =>
  infiniteQueryOptions({
    queryKey: ["changes", filter, limit],
    queryFn: ({ pageParam }) => get<Page<Change>>("/changes", { ...filter, cursor: pageParam, limit }),
    initialPageParam: "",
    getNextPageParam: (page) => page.next || undefined,
  });
export const changeQuery = (id: string) => queryOptions({ queryKey: ["change", id], queryFn: () => get<ChangeDetail>(`/changes/${segment(id)}`) });
export const diffQuery = (id: string, head: string) =>
  queryOptions({ queryKey: ["diff", id, head], queryFn: () => get<{ files: FileDiff[] }>(`/changes/${segment(id)}/diff`), staleTime: Infinity });

const at = (id: string, verb: string) => `/changes/${segment(id)}/${verb}`;
export const merge = (id: string) => request<Change>("POST", at(id, "merge"));
export const release = (id: string, digest: string) => post<Change>(at(id, "release"), { digest });
export const close = (id: string, reason: string) => post<Change>(at(id, "close"), { reason });
export const declareFix = (id: string, fixes: string) => post<Change>(at(id, "fix"), { fixes });
export interface Decision {
  discipline: string;
  digest: string;
  reason: string;
}
export const approve = (id: string, decision: Decision) => post<Change>(at(id, "approve"), decision);
export const reject = (id: string, decision: Decision) => post<Change>(at(id, "reject"), decision);
