import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { get, post, request, segment } from "../../api/client";
import type { Deployment, Page } from "../../api/types";

export interface DeploymentFilter {
  app?: string;
  environment?: string;
  change?: string;
  state?: string;
}

export const deploymentsQuery = (filter: DeploymentFilter, limit = 100) =>
  infiniteQueryOptions({
    queryKey: ["deployments", filter, limit],
    queryFn: ({ pageParam }) => get<Page<Deployment>>("/deployments", { ...filter, cursor: pageParam, limit }),
    initialPageParam: "",
    getNextPageParam: (page) => page.next || undefined,
  });
export const deploymentQuery = (id: string) =>
  queryOptions({ queryKey: ["deployment", id], queryFn: () => get<Deployment>(`/deployments/${segment(id)}`) });
export const cancel = (id: string) => request<Deployment>("POST", `/deployments/${segment(id)}/cancel`);
export const release = (id: string, planDigest: string) => post<Deployment>(`/deployments/${segment(id)}/release`, { planDigest });

export const over = (deployment: Deployment) => !["waiting", "running", "held"].includes(deployment.state);
