-- +goose Up
create table event (
  seq     bigint    primary key,
  id      text      not null,
  type    text      not null,
  subject text      not null,
  app     text      not null default '',
  actor   text      not null default '',
  request_id text   not null default '',
  at      timestamp not null,
  data    text      not null
);
create index event_by_subject on event (subject, seq);
create index event_by_app on event (app, seq);
create index event_by_request on event (request_id, seq) where request_id <> '';

-- Only PostgreSQL uses it: what was committed and has no number yet.
create table event_unnumbered (
  place   bigserial primary key,
  id      text      not null,
  type    text      not null,
  subject text      not null,
  app     text      not null,
  actor   text      not null,
  request_id text   not null default '',
  at      timestamp not null,
  data    text      not null
);
