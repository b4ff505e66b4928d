// The places where apps run, in the order a change reaches them.
import { Button } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Ask, Empty, Page } from "../../ui/parts";
import { plural } from "../../ui/text";
import { may, useMe } from "../account/queries";
import { environmentsQuery } from "./queries";

export const newerWords = { queue: "one after the other", "replace-pending": "the newest replaces what waits" } as const;
const tones: Record<string, string> = { production: "hold", staging: "busy", development: "quiet" };

export default function Environments() {
  const me = useMe();
  const query = useQuery(environmentsQuery);
  const manages = may(me, "manage_environments");
  return (
    <Page title="Environments" below={<p className="dim">A change reaches them in this order. Apps only select them.</p>}
      actions={manages && <Button leftSection={<IconPlus size={15} />} component={Link} to="/environments/new">Make an environment</Button>}>
      <Ask query={query}>
        {(items) => (
          <section className="card">
            {items.length === 0 ? (
              <Empty title="No environment yet">{manages ? "Make the first, for example staging, and then one that comes after it. Nothing is deployed anywhere before." : "The Center of Excellence keeps them."}</Empty>
            ) : (
              <ol className="rows" aria-label="Environments">
                {[...items].sort((a, b) => a.order - b.order || a.name.localeCompare(b.name)).map((environment) => (
                  <li key={environment.name}>
                    <Link to="/environments/$environment" params={{ environment: environment.name }} className="row-link row-environment">
                      <span className="order tabular" title={`Place ${environment.order} in the order`}>{environment.order}</span>
                      <span className="stack minimal"><span className="strong clip">{environment.name}</span><span className="dim small clip">{environment.after ? `after ${environment.after}` : "first"}</span></span>
                      <span><span className={`tag tone-${tones[environment.class] ?? "quiet"}`}>{environment.class}</span></span>
                      <span className="dim small clip wide-only">{environment.target}</span>
                      <span className="dim small clip wide-only">{newerWords[environment.onNewer]}</span>
                      <span className="dim small end wide-only">{plural(Object.keys(environment.values).length, "value")}</span>
                    </Link>
                  </li>
                ))}
              </ol>
            )}
          </section>
        )}
      </Ask>
    </Page>
  );
}
