import { queryOptions } from "@tanstack/react-query";
import { get, segment } from "../../api/client";
import type { Page, Pattern, PatternVersion } from "../../api/types";

export const patternsQuery = queryOptions({ queryKey: ["patterns"], queryFn: () => get<Page<Pattern>>("/patterns") });
export const patternQuery = (name: string) => queryOptions({ queryKey: ["patterns", name], queryFn: () => get<Pattern>(`/patterns/${segment(name)}`) });
export const versionQuery = (name: string, version: string) =>
  queryOptions({ queryKey: ["patterns", name, version], queryFn: () => get<PatternVersion>(`/patterns/${segment(name)}/versions/${segment(version)}`) });
