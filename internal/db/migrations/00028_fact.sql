-- +goose Up
-- Facts say to which team they belonged, and are found by their type and by their time.
alter table event add column team text not null default '';
alter table event_unnumbered add column team text not null default '';
create index event_by_type on event (type, seq);
create index event_by_time on event (at, seq);

-- How long a change stood where it stands and what it waits for there, so that the fact of its next move says both;
-- and what was pushed, with the times that no merge keeps.
alter table change add column since timestamp;
alter table change add column waits_for text not null default '';
alter table change add column checked_at timestamp;
alter table change add column ready_at timestamp;
alter table change add column commits text not null default '[]';

-- The same of a deployment, and what its facts say of its app, environment and change.
alter table deployment add column since timestamp;
alter table deployment add column waits_for text not null default '';
alter table deployment add column team text not null default '';
alter table deployment add column class text not null default '';
alter table deployment add column lane text not null default '';
update deployment set since = coalesce(started_at, created_at),
  team = coalesce((select team from app where app.name = deployment.app), ''),
  class = coalesce((select class from environment where environment.name = deployment.environment), ''),
  lane = coalesce((select lane from change where change.id = deployment.change), '');
update change set since = updated_at;
