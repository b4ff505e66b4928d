import { queryOptions } from "@tanstack/react-query";
import { api, data, every } from "../../api/client";
import type { NewRequest, PatternRequest, RequestAnswer } from "../../api/types";

export const patternsQuery = queryOptions({ queryKey: ["pattern"], queryFn: () => every((cursor) => api.GET("/api/v1/patterns", { params: { query: { limit: 200, cursor } } })) });
export const patternQuery = (pattern: string) =>
  queryOptions({ queryKey: ["pattern", pattern], queryFn: () => data(api.GET("/api/v1/patterns/{pattern}", { params: { path: { pattern } } })) });
export const versionQuery = (pattern: string, version: string) =>
  queryOptions({ queryKey: ["pattern", pattern, version], queryFn: () => data(api.GET("/api/v1/patterns/{pattern}/versions/{version}", { params: { path: { pattern, version } } })) });
export const createPattern = (body: { name: string; title?: string; files?: Record<string, string> }) => data(api.POST("/api/v1/patterns", { body }));
export const moveVersion = (pattern: string, version: string, state: "recommended" | "certified" | "deprecated" | "retired") =>
  data(api.POST("/api/v1/patterns/{pattern}/versions/{version}/state", { params: { path: { pattern, version } }, body: { state } }));
export const validate = (file: string, content: string) => data(api.POST("/api/v1/validate", { body: { file, content } }));

export const requestsQuery = (state?: string) =>
  queryOptions({
    queryKey: ["request", { state }],
    queryFn: () => every((cursor) => api.GET("/api/v1/pattern-requests", { params: { query: { state: state as PatternRequest["state"] | undefined, limit: 200, cursor } } })),
  });
export const ask = (body: NewRequest) => data(api.POST("/api/v1/pattern-requests", { body }));
export const answer = (request: string, body: RequestAnswer) => data(api.POST("/api/v1/pattern-requests/{request}/answer", { params: { path: { request } }, body }));
