import { Button } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { Ask, Card, Empty, Id, Page, State, Time } from "../../ui/parts";
import { may, teamsWhere, useMe } from "../account/queries";
import { ChangeRow } from "../change/parts";
import { changesQuery } from "../change/queries";
import { patternQuery } from "./queries";
import { AskFor } from "./Requests";

const route = getRouteApi("/patterns/$pattern");

export default function PatternPage() {
  const { pattern: name } = route.useParams();
  const me = useMe();
  const query = useQuery(patternQuery(name));
  const changes = useInfiniteQuery(changesQuery({ kind: "pattern", subject: name }, 20));
  const pattern = query.data;
  return (
    <Page
      title={name} crumbs={<Link to="/patterns">Patterns</Link>}
      heading={pattern && pattern.title !== name ? <>{pattern.title} <span className="dim">{name}</span></> : name}
      below={pattern && <div className="line small dim">{pattern.owner && <span>Owner {pattern.owner}</span>}{pattern.repository && <Id id={`git clone ${pattern.repository}`} label={pattern.repository.replace(/^https?:\/\//, "")} />}</div>}
      actions={<>{pattern && may(me, "request_pattern") && <AskFor pattern={name} />}{pattern?.recommended && teamsWhere(me, "create_app").length > 0 && <Button leftSection={<IconPlus size={15} />} component={Link} to={`/apps/new?pattern=${encodeURIComponent(name)}`}>Create an app</Button>}</>}
    >
      <Ask query={query}>
        {(pattern) => (
          <Card title="Versions" count={pattern.versions.length} flush>
            {pattern.versions.length === 0 ? <Empty title="No version yet">The first is published when its change is certified.</Empty> : (
              <ul className="rows">
                {pattern.versions.map((version) => (
                  <li key={version.id}>
                    <Link to="/patterns/$pattern/$version" params={{ pattern: name, version: version.version }} className="row-link row-version">
                      <span className="strong tabular">{version.version}</span>
                      <span className="line"><State state={version.state} />{version.recommended && <span className="tag tone-busy">Recommended</span>}{version.breaking && <span className="tag tone-bad" title={version.breaking}>Breaking</span>}</span>
                      <span className="dim small end"><Time at={version.createdAt} /></span>
                    </Link>
                  </li>
                ))}
              </ul>
            )}
          </Card>
        )}
      </Ask>
      <Card title="Changes" flush aside={<Link className="link small" to="/changes" search={{ kind: "pattern", subject: name }}>All</Link>}>
        <Ask query={changes} rows={2}>
          {(items) => items.length === 0 ? <Empty title="No change yet">Push a branch to its repository to propose one.</Empty> : <ul className="rows">{items.slice(0, 20).map((change) => <li key={change.id}><ChangeRow change={change} /></li>)}</ul>}
        </Ask>
      </Card>
    </Page>
  );
}
