import { queryOptions } from "@tanstack/react-query";
import { get } from "../../api/client";
import type { Home } from "../../api/types";

export const homeQuery = queryOptions({ queryKey: ["home"], queryFn: () => get<Home>("/home") });
