-- +goose Up
create table environment (
  name       text      primary key,
  class      text      not null,
  position   bigint    not null,
  after_name text      not null,
  target     text      not null,
  on_newer   text      not null,
  coe_values text      not null,
  network    boolean   not null default false,
  freezes    text      not null default '[]',
  created_at timestamp not null,
  updated_at timestamp not null,
  updated_by text      not null
);

create table app (
  id          text      primary key,
  name        text      not null unique,
  title       text      not null,
  team        text      not null,
  former_teams text     not null default 'null',
  state       text      not null,
  pin         text      not null,
  description text      not null,
  created_by  text      not null,
  created_at  timestamp not null,
  removed_by  text      not null default '',
  removed_at  timestamp
);
create index app_by_team on app (team, name);

create table instance (
  id          text      primary key,
  app         text      not null,
  environment text      not null,
  state       text      not null,
  reason      text      not null default '',
  deployed    text      not null,
  pattern     text      not null default '',
  url         text      not null default '',
  running     text      not null default '',
  fence       bigint    not null default 0,
  pinned_by   text      not null default '',
  updated_at  timestamp not null,
  unique (app, environment)
);
create index instance_by_pattern on instance (pattern, app, environment);

create table waiver (
  id          text      primary key,
  app         text      not null,
  environment text      not null,
  variable    text      not null,
  value       text      not null,
  bound       text      not null,
  reason      text      not null,
  state       text      not null,
  until       timestamp,
  ended_at    timestamp,
  asked_by    text      not null,
  asked_name  text      not null,
  decided_by  text      not null default '',
  decision    text      not null default '',
  created_at  timestamp not null,
  updated_at  timestamp not null
);
create index waiver_by_app on waiver (app, environment, variable);
create index waiver_by_state on waiver (state, id);

create table artifact (
  app      text      not null,
  source   text      not null,
  digest   text      not null,
  size     bigint    not null,
  built_at timestamp not null,
  primary key (app, source)
);
create index artifact_by_digest on artifact (app, digest);

create table upload (
  app         text      not null, -- '' for patterns
  digest      text      not null,
  actor       text      not null,
  uploaded_at timestamp not null,
  primary key (app, digest)
);
