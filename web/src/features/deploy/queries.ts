import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, data } from "../../api/client";
import type { Deployment } from "../../api/types";

export interface DeploymentFilter {
  app?: string;
  environment?: string;
  change?: string;
  state?: string;
}

export const deploymentsQuery = (filter: DeploymentFilter, limit = 100) =>
  infiniteQueryOptions({
    queryKey: ["deployment", filter, limit],
    queryFn: ({ pageParam }) => data(api.GET("/api/v1/deployments", { params: { query: { ...filter, state: filter.state as Deployment["state"] | undefined, limit, cursor: pageParam } } })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next || undefined,
    select: ({ pages }) => pages.flatMap((page) => page.items),
  });

const at = (deployment: string) => ({ path: { deployment } });
export const deploymentQuery = (id: string) =>
  queryOptions({ queryKey: ["deployment", id], queryFn: () => data(api.GET("/api/v1/deployments/{deployment}", { params: at(id) })) });
export const cancel = (id: string) => data(api.POST("/api/v1/deployments/{deployment}/cancel", { params: at(id) }));
export const release = (id: string, planDigest: string, confirm: string) => data(api.POST("/api/v1/deployments/{deployment}/release", { params: at(id), body: { planDigest, confirm } }));

export const over = (deployment: Deployment) => !["waiting", "running", "held"].includes(deployment.state);
