-- +goose Up
create table pattern (
  name       text      primary key,
  title      text      not null,
  owner      text      not null,
  created_by text      not null,
  created_at timestamp not null
);

create table pattern_version (
  id          text      primary key,
  pattern     text      not null,
  version     text      not null,
  digest      text      not null,
  state       text      not null,
  recommended boolean   not null,
  manifest    text      not null,
  interface   text      not null,
  readme      text      not null,
  commit_id   text      not null,
  change      text      not null,
  created_at  timestamp not null,
  unique (pattern, version)
);
create index pattern_version_by_digest on pattern_version (digest);

create table module_ticket (
  hash   text      primary key,
  digest text      not null,
  until  timestamp not null
);

create table pattern_request (
  id         text      primary key,
  pattern    text      not null,
  title      text      not null,
  body       text      not null,
  state      text      not null,
  reason     text      not null,
  change     text      not null,
  story      text      not null,
  asked_by   text      not null,
  discipline text      not null,
  created_at timestamp not null,
  updated_at timestamp not null
);
