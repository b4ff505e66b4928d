import { Button, Select, TextInput } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { Problem } from "../../api/client";
import { useAct } from "../../ui/act";
import { Ask, Empty, Id, Page, Time, Wrong } from "../../ui/parts";
import { Rows } from "../../ui/Rows";
import { teamsWhere, useMe } from "../account/queries";
import { createStory, storiesQuery } from "./queries";

export default function Stories() {
  const me = useMe();
  const teams = teamsWhere(me, "plan_stories");
  const query = useInfiniteQuery(storiesQuery);
  return (
    <Page title="Stories">
      {teams.length > 0 && <NewStory teams={teams} />}
      <Ask query={query}>
        {(items) => (
          <section className="card">
            {items.length === 0 ? <Empty title="No story yet">A story says what somebody wants and why. A commit names it with the trailer <code className="word">Story: STY-12</code>, and its changes show here.</Empty> : (
              <Rows items={items} more={query} label="Stories">
                {(story) => (
                  <div className="story">
                    <Link to="/changes" search={{ story: story.key }} className="strong story-title">{story.title}</Link>
                    <span className="dim small">{story.team}</span>
                    <Id id={story.key} />
                    <span className="dim small"><Time at={story.createdAt} /></span>
                  </div>
                )}
              </Rows>
            )}
          </section>
        )}
      </Ask>
    </Page>
  );
}

function NewStory({ teams }: { teams: string[] }) {
  const [title, setTitle] = useState("");
  const [team, setTeam] = useState<string | null>(teams[0] ?? null);
  const create = useAct(() => createStory({ title: title.trim(), team: team ?? "" }), () => setTitle(""));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (title.trim() && team) create.mutate(undefined);
  };
  const problem = create.error instanceof Problem ? create.error : undefined;
  return (
    <form className="stack" onSubmit={submit}>
      <div className="filters">
        <TextInput aria-label="Title of a new story" placeholder="As a shopper I find the shops near me" value={title} maxLength={200} onChange={(event) => setTitle(event.currentTarget.value)} className="grow" error={problem?.field("title")} />
        {teams.length > 1 && <Select aria-label="Team" data={teams} value={team} onChange={setTeam} allowDeselect={false} w={150} />}
        <Button type="submit" size="sm" disabled={!title.trim()} loading={create.isPending}>Add the story</Button>
      </div>
      <Wrong error={create.error} />
    </form>
  );
}
