// Where a person is signed in, and the way to end that.
import { useQuery } from "@tanstack/react-query";
import type { Session } from "../../api/types";
import { Confirm } from "../../ui/act";
import { Ask, Card, Time } from "../../ui/parts";
import { browserOf } from "./browser";
import { endOtherSessions, endSession, sessionsQuery } from "./queries";

export function Sessions() {
  const query = useQuery(sessionsQuery);
  const others = (query.data ?? []).filter(({ current }) => !current).length;
  return (
    <Card title="Sessions">
      <div className="stack">
        <Ask query={query} rows={2}>
          {(items) => <ul className="rows" aria-label="Sessions">{items.map((session) => <li key={session.id} className="token"><Row session={session} /></li>)}</ul>}
        </Ask>
        {others > 0 && (
          <div className="line">
            <Confirm label="End all others" title="End all other sessions" go="End them" danger act={endOtherSessions} done="Your other sessions have ended.">
              <p>Whoever uses them has to sign in again. Your tokens stay.</p>
            </Confirm>
          </div>
        )}
      </div>
    </Card>
  );
}

function Row({ session }: { session: Session }) {
  const name = browserOf(session.browser);
  return (
    <>
      <div className="stack minimal">
        <span className="strong wrap" title={session.browser}>{name}{session.current && <span className="dim"> · this one</span>}</span>
        <span className="dim small">from {session.address} · signed in <Time at={session.createdAt} /></span>
      </div>
      <span className="dim small">last seen <Time at={session.seenAt} /></span>
      {!session.current && (
        <Confirm label="End" title={`End the session of ${name}`} go="End it" danger act={() => endSession(session.id)} done="The session has ended.">
          <p>Whoever uses it has to sign in again.</p>
        </Confirm>
      )}
    </>
  );
}
