import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import type { PatternVariable, PatternVersion } from "../../api/types";
import { Confirm } from "../../ui/act";
import { Ask, Card, Id, Note, Page, State, Time } from "../../ui/parts";
import { bounds } from "../../ui/schema";
import { show, word } from "../../ui/text";
import { may, teamsWhere, useMe } from "../account/queries";
import { moveVersion, versionQuery } from "./queries";

const Markdown = lazy(() => import("../../ui/Markdown"));
const route = getRouteApi("/patterns/$pattern/$version");

export default function VersionPage() {
  const { pattern, version } = route.useParams();
  const me = useMe();
  const query = useQuery(versionQuery(pattern, version));
  const found = query.data;
  return (
    <Page
      title={`${pattern} ${version}`} width="wide" heading={<>{pattern} <span className="tabular">{version}</span></>}
      crumbs={<><Link to="/patterns">Patterns</Link> / <Link to="/patterns/$pattern" params={{ pattern }}>{pattern}</Link></>}
      below={found && <div className="line small dim"><State state={found.state} big />{found.recommended && <span className="tag tone-busy big">Recommended</span>}<Id id={found.digest} /><span>{proposed(found) ? "proposed" : "published"} <Time at={found.createdAt} /></span></div>}
      actions={found && <>{may(me, "curate_pattern") && <Curate version={found} />}{found.recommended && teamsWhere(me, "create_app").length > 0 && <Button component={Link} to={`/apps/new?pattern=${encodeURIComponent(pattern)}`}>Create an app</Button>}</>}
    >
      <Ask query={query}>
        {(version) => (
          <div className="two">
            <div className="stack loose">
              {proposed(version) && <Note tone="quiet"><p>This is what an open change would publish. Nothing is deployed on it before it is certified. {version.change && <Link className="link" to="/changes/$change" params={{ change: version.change }}>Look at the change</Link>}</p></Note>}
              <Interface version={version} />
              {!proposed(version) && <Card title="Readme">{version.readme ? <Suspense fallback={<div className="skeleton" />}><Markdown text={version.readme} /></Suspense> : <p className="dim">It has none.</p>}</Card>}
            </div>
            <div className="stack loose">
              <Card title="About">
                <dl className="facts">
                  {Object.entries(version.manifest?.spec.approvals ?? {}).length > 0 && <><dt>Approvals</dt><dd>{Object.entries(version.manifest?.spec.approvals ?? {}).map(([discipline, count]) => `${count} ${discipline}`).join(", ")}</dd></>}
                  {version.manifest?.spec.release.driver && <><dt>Rollout</dt><dd>{version.manifest.spec.release.driver}</dd></>}
                  <dt>Commit</dt><dd><Id id={version.commit} /></dd>
                  {version.change && <><dt>Change</dt><dd><Link className="link mono" to="/changes/$change" params={{ change: version.change }}>{version.change}</Link></dd></>}
                </dl>
              </Card>
              {version.interface.credentials && (
                <Card title="Credentials" count={version.interface.credentials.length}>
                  <div className="stack"><p className="dim small">Secrets of the environment that infrastructure runs of this version get.</p>
                    <ul>{version.interface.credentials.map((name) => <li key={name}><code>{name}</code></li>)}</ul></div>
                </Card>
              )}
              <Card title="Outputs" count={version.interface.outputs.length}>
                {version.interface.outputs.length === 0 ? <p className="dim">None.</p> : <ul>{version.interface.outputs.map((output) => <li key={output.name}><code>{output.name}</code><Marks of={output} />{output.description && <p className="dim small">{output.description}</p>}</li>)}</ul>}
              </Card>
            </div>
          </div>
        )}
      </Ask>
    </Page>
  );
}

/** Whether it is what an open change would publish. */
const proposed = ({ state }: PatternVersion) => state === "draft" || state === "in_review";

/** What the Center of Excellence does with a version that is out. */
function Curate({ version: { pattern, version, state, recommended } }: { version: PatternVersion }) {
  const move = (to: Parameters<typeof moveVersion>[2]) => () => moveVersion(pattern, version, to);
  return (
    <>
      {state === "deprecated" && <Confirm label="Retire" title={`Retire ${pattern} ${version}`} go="Retire" danger act={move("retired")} done="The version is retired."><p>Nothing may be deployed on it any more.</p></Confirm>}
      {state === "retired" && <Confirm label="Take back" title={`Take back that ${pattern} ${version} is retired`} go="Deprecate" act={move("deprecated")} done="The version is deprecated."><p>What runs on it can be deployed again; new apps do not get it.</p></Confirm>}
      {state === "deprecated" && <Confirm label="Certify again" title={`Certify ${pattern} ${version} again`} go="Certify" act={move("certified")} done="The version is certified."><p>New apps and ranges find it again.</p></Confirm>}
      {state === "certified" && <Confirm label="Deprecate" title={`Deprecate ${pattern} ${version}`} go="Deprecate" act={move("deprecated")} done="The version is deprecated."><p>It still runs and is still repaired; new apps do not get it.</p></Confirm>}
      {state === "certified" && !recommended && <Confirm label="Recommend" variant="filled" title={`Recommend ${pattern} ${version}`} go="Recommend" act={move("recommended")} done="The version is recommended."><p>New apps begin with it, and apps on another version see that they can move.</p></Confirm>}
    </>
  );
}

const control: Record<string, string> = { team: "The team", coe: "The Center of Excellence", platform: "Flywheel itself" };

function Interface({ version }: { version: PatternVersion }) {
  const order = ["team", "coe", "platform"];
  const variables = [...version.interface.variables].sort((a, b) => order.indexOf(a.control) - order.indexOf(b.control) || a.name.localeCompare(b.name));
  return (
    <Card title="Variables" count={variables.length} flush>
      <div className="scroll-x" tabIndex={0}>
        <table className="table interface">
          <thead><tr><th scope="col">Variable</th><th scope="col">Who sets it</th><th scope="col">Bounds</th><th scope="col">Default</th></tr></thead>
          <tbody>
            {variables.map((variable) => (
              <tr key={variable.name}>
                <td><code className="strong">{variable.name}</code> <span className="dim small">{variable.type}</span><Marks of={variable} />{variable.description && <p className="dim small">{variable.description}</p>}</td>
                <td className="nowrap">{control[variable.control] ?? word(variable.control)}</td>
                <td>{variable.secret ? <span className="dim">{variable.control === "coe" ? "a secret of the environment" : "a secret of the app"}</span> : <Limits variable={variable} classes={version.manifest?.spec.variables?.[variable.name]?.classes} />}</td>
                <td>{variable.sensitive ? <span className="dim">sensitive</span> : variable.required ? <span className="dim">required</span> : <code className="wrap">{show(variable.default)}</code>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

/** What the module calls a variable or an output. */
function Marks({ of }: { of: { sensitive?: boolean; ephemeral?: boolean; nullable?: boolean; deprecated?: string } }) {
  const words = [of.sensitive && "sensitive", of.ephemeral && "ephemeral", of.nullable === false && "not null", of.deprecated && `deprecated: ${of.deprecated}`].filter(Boolean);
  return words.length > 0 && <span className="dim small"> ({words.join(", ")})</span>;
}

function Limits({ variable, classes }: { variable: PatternVariable; classes?: Record<string, object> }) {
  const general = bounds(variable.bounds ?? {});
  const special = Object.entries(classes ?? {});
  if (!general && special.length === 0) return <span className="dim">—</span>;
  return (
    <>
      {general && <span className="tabular">{general}</span>}
      {special.map(([name, limits]) => <p key={name} className="small dim tabular">{name}: {bounds({ ...variable.bounds, ...limits })}</p>)}
    </>
  );
}
