import { Button } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Ask, Empty, Page, State } from "../../ui/parts";
import { plural } from "../../ui/text";
import { may, useMe } from "../account/queries";
import { patternsQuery } from "./queries";

export default function Patterns() {
  const me = useMe();
  const query = useQuery(patternsQuery);
  const creates = may(me, "create_pattern");
  return (
    <Page title="Patterns" actions={<><Button variant="default" component={Link} to="/pattern-requests">Requests</Button>{creates && <Button leftSection={<IconPlus size={15} />} component={Link} to="/patterns/new">Create a pattern</Button>}</>}>
      <Ask query={query}>
        {(items) => (
          <section className="card">
            {items.length === 0 ? (
              <Empty title="The catalogue is empty" action={creates && <Button variant="default" component={Link} to="/patterns/new">Create a pattern</Button>}>A pattern is a module with a <code className="word">pattern.yaml</code> beside it. {creates ? <>Create one here or with <code className="word">flywheel pattern create NAME --from FOLDER</code>; its first version is then certified.</> : <>The Center of Excellence creates them; <Link className="link" to="/pattern-requests">ask for one</Link> in words.</>}</Empty>
            ) : (
              <ul className="rows">
                {items.map((pattern) => (
                  <li key={pattern.name}>
                    <Link to="/patterns/$pattern" params={{ pattern: pattern.name }} className="row-link row-plain">
                      <span className="stack tight minimal"><span className="strong clip">{pattern.name}</span><span className="dim small clip">{pattern.title} · {plural(pattern.versions.length, "version")}</span></span>
                      {pattern.recommended ? <span className="line nowrap"><span className="tabular">{pattern.recommended}</span><State state="certified" /></span> : <span className="dim small">none recommended</span>}
                    </Link>
                  </li>
                ))}
              </ul>
            )}
          </section>
        )}
      </Ask>
    </Page>
  );
}
