-- +goose Up
create table change (
  id              text      primary key,
  kind            text      not null,
  subject         text      not null,
  team            text      not null,
  branch          text      not null,
  title           text      not null,
  body            text      not null,
  state           text      not null,
  why             text      not null,
  remedy          text      not null,
  code            text      not null default '',
  lane            text      not null,
  reasons         text      not null,
  effects         text      not null,
  revision        bigint    not null,
  head            text      not null,
  main            text      not null,
  merged          text      not null,
  story           text      not null,
  needs           text      not null,
  reverts         text      not null,
  revert          text      not null,
  fix             text      not null,
  opener          text      not null,
  authors         text      not null,
  merge_requested boolean   not null,
  released        text      not null,
  proposal        text      not null,
  request_id      text      not null default '',
  opened_at       timestamp not null,
  updated_at      timestamp not null
);
create index change_open on change (kind, subject) where state not in ('merged', 'deployed', 'rolled_back', 'closed', 'rejected');
create index change_by_subject on change (subject, id);
create index change_by_state on change (state, id);
create index change_by_story on change (story, id);

create table change_check (
  id          text      primary key,
  change      text      not null,
  revision    bigint    not null,
  name        text      not null,
  state       text      not null,
  summary     text      not null,
  detail      text      not null,
  log         text      not null,
  started_at  timestamp not null,
  finished_at timestamp,
  unique (change, revision, name)
);

create table story (
  id         text      primary key,
  number     bigint    not null unique,
  title      text      not null,
  team       text      not null,
  state      text      not null,
  created_by text      not null,
  created_at timestamp not null
);
