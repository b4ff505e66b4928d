import { useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { Ask, Empty, Page } from "../../ui/parts";
import { Rows } from "../../ui/Rows";
import { word } from "../../ui/text";
import { DeploymentRow } from "./parts";
import { deploymentsQuery } from "./queries";

const route = getRouteApi("/deployments");
const states = ["waiting", "running", "held", "succeeded", "failed", "cancelled", "superseded", "interrupted"];

export default function Deployments() {
  const filter = route.useSearch();
  const query = useInfiniteQuery(deploymentsQuery(filter));
  const items = useMemo(() => query.data ?? [], [query.data]);
  const title = ["Deployments", filter.app && `of ${filter.app}`, filter.environment && `in ${filter.environment}`, filter.change && `for ${filter.change}`].filter(Boolean).join(" ");
  return (
    <Page title={title}>
      <div className="filters">
        <nav className="pills" aria-label="State">
          <Link from="/deployments" to="/deployments" search={(old) => ({ ...old, state: undefined })} className={`pill${filter.state ? "" : " active"}`}>All</Link>
          {states.map((state) => <Link key={state} from="/deployments" to="/deployments" search={(old) => ({ ...old, state })} className={`pill${filter.state === state ? " active" : ""}`}>{word(state)}</Link>)}
        </nav>
        {(filter.app || filter.environment || filter.change) && <Link to="/deployments" search={filter.state ? { state: filter.state } : {}} className="link small">Show all apps</Link>}
      </div>
      <Ask query={query}>
        {() => (
          <section className="card">
            {items.length === 0 ? <Empty title={Object.keys(filter).length ? "No deployment matches" : "Nothing was deployed yet"}>{Object.keys(filter).length ? "Try another state." : "A merged change is deployed by itself, environment by environment."}</Empty>
              : <Rows items={items} more={query} label="Deployments">{(d) => <DeploymentRow deployment={d} />}</Rows>}
          </section>
        )}
      </Ask>
    </Page>
  );
}
