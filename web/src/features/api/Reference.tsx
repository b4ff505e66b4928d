// The reference of the API, from the description that this very server gives of itself: operations by
// noun, with their parameters, bodies, answers, and a line for the terminal.
import { Button, TextInput } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useRouterState } from "@tanstack/react-router";
import { useEffect, useMemo, useState, type SyntheticEvent } from "react";
import { read } from "../../api/client";
import { Ask, Card, Empty, Page } from "../../ui/parts";
import { plural, word } from "../../ui/text";
import { fits, nouns, operations, type Description, type Field, type Operation } from "./reference";
import style from "./Reference.module.css";

const route = getRouteApi("/docs/api");

async function describe(): Promise<Description> {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw await read(answer);
  return answer.json();
}

export default function Reference() {
  const query = useQuery({ queryKey: ["openapi"], queryFn: describe, staleTime: Infinity });
  return (
    <Page title="API" below={<p className="dim">What the pages and the command line do, a program can do as well, with a <Link to="/tokens" className="link">token</Link>.</p>}
      actions={<Button variant="default" component="a" href="/openapi.json">OpenAPI 3.1</Button>}>
      <Manners />
      <Ask query={query}>{(api) => <Operations api={api} />}</Ask>
    </Page>
  );
}

function Manners() {
  return (
    <Card title="How it is spoken">
      <div className="stack">
        <Curl text={`export FLYWHEEL_TOKEN=…\ncurl ${location.origin}/api/v1/me \\\n  -H "Authorization: Bearer $FLYWHEEL_TOKEN"`} label="The first request" />
        <dl className="facts">
          <dt>Failures</dt><dd>A problem (RFC 9457): a stable <code className="word">code</code>, one sentence as <code className="word">detail</code>, the way out as <code className="word">remedy</code>, and the <code className="word">requestId</code> that the server's log names.</dd>
          <dt>Lists</dt><dd>One page of <code className="word">items</code>, with <code className="word">next</code> while there are more: send it as <code className="word">cursor</code>.</dd>
          <dt>Again</dt><dd>An <code className="word">Idempotency-Key</code> makes it safe to send a creation twice. <code className="word">Retry-After</code> says when to try again.</dd>
          <dt>Edits</dt><dd>The <code className="word">ETag</code> that you read, sent as <code className="word">If-Match</code>, keeps you from overwriting what somebody else changed.</dd>
          <dt>Requests</dt><dd>Each answer has an <code className="word">X-Request-Id</code>: log, audit log, events, changes and deployments keep it. One that you send is kept beside it, as your word.</dd>
          <dt>Live</dt><dd><Link to="/docs/api" hash="stream-events" className="link">A stream of events</Link> tells what happens as it happens.</dd>
        </dl>
      </div>
    </Card>
  );
}

function Operations({ api }: { api: Description }) {
  const { q = "" } = route.useSearch();
  const navigate = route.useNavigate();
  const all = useMemo(() => operations(api, location.origin), [api]);
  const found = useMemo(() => all.filter((operation) => fits(operation, q)), [all, q]);
  // The address may name an operation or a noun that was not there yet when the page came.
  useEffect(() => document.getElementById(location.hash.slice(1))?.scrollIntoView(), []);
  return (
    <>
      <div className="filters">
        <TextInput aria-label="Find an operation" placeholder="Find an operation: deploy, /apps, POST" value={q} className="grow" spellCheck={false}
          onChange={(event) => void navigate({ search: { q: event.currentTarget.value || undefined }, replace: true })} />
        <span className="dim small" role="status">{plural(found.length, "operation")}</span>
      </div>
      {found.length === 0 && <section className="card"><Empty title="No operation matches">Try less, or another word.</Empty></section>}
      {nouns(found).map(([noun, list]) => (
        <Card key={noun} id={noun} title={word(noun.replaceAll("-", " "))} count={list.length} flush>
          <ul className="rows">{list.map((operation) => <li key={operation.id}><One operation={operation} /></li>)}</ul>
        </Card>
      ))}
    </>
  );
}

function One({ operation }: { operation: Operation }) {
  const hash = useRouterState({ select: (state) => state.location.hash });
  const [opened, setOpened] = useState(false);
  useEffect(() => {
    if (hash === operation.id) setOpened(true);
  }, [hash, operation.id]);
  const { body, answer } = operation;
  return (
    <details id={operation.id} open={opened} onToggle={(event: SyntheticEvent<HTMLDetailsElement>) => setOpened(event.currentTarget.open)}>
      <summary className={style.operation}>
        <span className={style.method}>{operation.method}</span>
        <code>{operation.path}</code>
        <span>{operation.summary}</span>
      </summary>
      {opened && (
        <div className={style.detail}>
          {operation.text && <p>{operation.text}</p>}
          <Curl text={operation.curl} label={`${operation.summary}, at the terminal`} />
          <Fields title="Parameters" fields={operation.parameters} />
          {body && (body.fields.length > 0 ? <Fields title="Body" fields={body.fields} /> : <p className="dim small">The body is {body.kind}.</p>)}
          {answer.fields.length > 0 ? <Fields title={`Answer ${answer.status}`} fields={answer.fields} answered /> : <p className="dim small">Answers {answer.status}{answer.kind ? ` with ${answer.kind}` : ""}.</p>}
          <p className="small"><Link to="/docs/api" hash={operation.id} className="link">Address of this operation</Link></p>
        </div>
      )}
    </details>
  );
}

function Fields({ title, fields, answered }: { title: string; fields: Field[]; answered?: boolean }) {
  if (fields.length === 0) return null;
  return (
    <div className="stack tight">
      <h3>{title}</h3>
      <div className={`scroll-x ${style.fields}`} tabIndex={0} role="group" aria-label={title}>
        <table className="table">
          <thead><tr><th>Name</th><th>Type</th><th>Meaning</th></tr></thead>
          <tbody>
            {fields.map(({ name, place, type, required, text }) => (
              <tr key={`${place} ${name}`}>
                <td><code>{name}</code>{required && !answered && <span className="small ink-hold"> needed</span>}</td>
                <td className="dim small">{type}{place && <><br />{`in the ${place}`}</>}</td>
                <td className="small">{text}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

function Curl({ text, label }: { text: string; label: string }) {
  const clipboard = useClipboard({ timeout: 1500 });
  return (
    <div className={style.curl}>
      <pre aria-label={label} role="group">{text}</pre>
      <Button size="compact-xs" variant="default" className={style.copy} leftSection={clipboard.copied ? <IconCheck size={12} /> : <IconCopy size={12} />} onClick={() => clipboard.copy(text)}>{clipboard.copied ? "Copied" : "Copy"}</Button>
    </div>
  );
}
