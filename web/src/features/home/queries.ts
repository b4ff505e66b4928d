import { queryOptions } from "@tanstack/react-query";
import { api, data } from "../../api/client";

export const homeQuery = queryOptions({ queryKey: ["home"], queryFn: () => data(api.GET("/api/v1/home")) });
