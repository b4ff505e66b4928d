-- +goose Up
create table state_version (
  instance text      not null,
  version  bigint    not null,
  lineage  text      not null,
  serial   bigint    not null,
  digest   text      not null,
  run      text      not null,
  body     bytea     not null,
  at       timestamp not null,
  primary key (instance, version)
);

create table state_lock (
  instance text      primary key,
  run      text      not null,
  lock_id  text      not null,
  info     text      not null,
  at       timestamp not null
);

create table state_token (
  digest    text      primary key,
  run       text      not null,
  instance  text      not null,
  writes    boolean   not null,
  fence     bigint    not null,
  issued_at timestamp not null
);
create index state_token_by_run on state_token (run);
