import { infiniteQueryOptions } from "@tanstack/react-query";
import { api, data } from "../../api/client";

export const storiesQuery = infiniteQueryOptions({
  queryKey: ["story"],
  queryFn: ({ pageParam }) => data(api.GET("/api/v1/stories", { params: { query: { limit: 200, cursor: pageParam } } })),
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page) => page.next || undefined,
  select: ({ pages }) => pages.flatMap((page) => page.items),
});
export const createStory = (body: { title: string; team: string }) => data(api.POST("/api/v1/stories", { body }));
