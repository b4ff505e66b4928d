import { queryOptions } from "@tanstack/react-query";
import { get, post } from "../../api/client";
import type { Page, Story } from "../../api/types";

export const storiesQuery = queryOptions({ queryKey: ["stories"], queryFn: () => get<Page<Story>>("/stories", { limit: 200 }) });
export const createStory = (body: { title: string; team: string }) => post<Story>("/stories", body);
