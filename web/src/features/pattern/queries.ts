import { queryOptions } from "@tanstack/react-query";
import { api, data } from "../../api/client";

export const patternsQuery = queryOptions({ queryKey: ["patterns"], queryFn: async () => (await data(api.GET("/api/v1/patterns"))).items });
export const patternQuery = (pattern: string) =>
  queryOptions({ queryKey: ["patterns", pattern], queryFn: () => data(api.GET("/api/v1/patterns/{pattern}", { params: { path: { pattern } } })) });
export const versionQuery = (pattern: string, version: string) =>
  queryOptions({ queryKey: ["patterns", pattern, version], queryFn: () => data(api.GET("/api/v1/patterns/{pattern}/versions/{version}", { params: { path: { pattern, version } } })) });
