import { useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { Ask, Empty, Page } from "../../ui/parts";
import { Rows } from "../../ui/Rows";
import { word } from "../../ui/text";
import { ChangeRow } from "./parts";
import { changesQuery } from "./queries";

const route = getRouteApi("/changes");
const states = ["checking", "waiting", "review", "held", "ready", "refused", "failed", "blocked", "merged", "deployed", "rolled_back", "closed"];

export default function Changes() {
  const filter = route.useSearch();
  const query = useInfiniteQuery(changesQuery(filter));
  const items = useMemo(() => query.data ?? [], [query.data]);
  const title = ["Changes", filter.subject && `of ${filter.subject}`, filter.story && `for ${filter.story}`].filter(Boolean).join(" ");
  return (
    <Page title={title}>
      <div className="filters">
        <nav className="pills" aria-label="State">
          <Link from="/changes" to="/changes" search={(old) => ({ ...old, state: undefined })} className={`pill${filter.state ? "" : " active"}`} activeOptions={{ exact: true }}>All</Link>
          {states.map((state) => <Link key={state} from="/changes" to="/changes" search={(old) => ({ ...old, state })} className={`pill${filter.state === state ? " active" : ""}`}>{word(state)}</Link>)}
        </nav>
        {(filter.subject || filter.story || filter.kind) && <Link to="/changes" search={filter.state ? { state: filter.state } : {}} className="link small">Show all subjects</Link>}
      </div>
      <Ask query={query}>
        {() => (
          <section className="card">
            {items.length === 0 ? (
              <Empty title={Object.keys(filter).length ? "No change matches" : "No change yet"}>{Object.keys(filter).length ? "Try another state." : "A pushed branch of an app or a pattern becomes a change, and so does a form of an app's variables."}</Empty>
            ) : <Rows items={items} more={query} label="Changes">{(change) => <ChangeRow change={change} />}</Rows>}
          </section>
        )}
      </Ask>
    </Page>
  );
}
