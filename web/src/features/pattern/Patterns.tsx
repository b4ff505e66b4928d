import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Ask, Empty, Page, State } from "../../ui/parts";
import { plural } from "../../ui/text";
import { patternsQuery } from "./queries";

export default function Patterns() {
  const query = useQuery(patternsQuery);
  return (
    <Page title="Patterns">
      <Ask query={query}>
        {(items) => (
          <section className="card">
            {items.length === 0 ? (
              <Empty title="The catalogue is empty">A pattern is a module with a <code className="word">pattern.yaml</code> beside it. Add one with <code className="word">flywheel pattern create NAME --from FOLDER</code>; its first version is then certified.</Empty>
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
