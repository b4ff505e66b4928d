-- +goose Up
create table person ( -- "user" is a reserved word
  id          text      primary key,
  name        text      not null unique,
  title       text      not null,
  password    text      not null,
  admin       boolean   not null,
  disciplines text      not null,
  active      boolean   not null,
  created_at  timestamp not null,
  updated_at  timestamp not null,
  updated_by  text      not null
);

create table team (
  id         text      primary key,
  name       text      not null unique,
  title      text      not null,
  created_at timestamp not null,
  updated_at timestamp not null,
  updated_by text      not null
);

create table member (
  team   text not null references team (id),
  person text not null references person (id),
  role   text not null,
  primary key (team, person)
);
create index member_by_person on member (person);

create table token (
  id         text      primary key,
  hash       text      not null unique,
  person     text      not null references person (id),
  name       text      not null,
  scopes     text      not null,
  service    boolean   not null,
  created_at timestamp not null,
  expires_at timestamp not null
);
create index token_by_person on token (person, id);

create table session (
  hash       text      primary key,
  id         text      not null unique,
  person     text      not null references person (id),
  address    text      not null,
  browser    text      not null,
  created_at timestamp not null,
  expires_at timestamp not null
);
create index session_by_person on session (person, id);
create index session_by_expiry on session (expires_at);

create table audit (
  seq      bigint    primary key,
  at       timestamp not null,
  actor    text      not null,
  name     text      not null,
  token    text      not null,
  action   text      not null,
  subject  text      not null,
  decision text      not null,
  reason   text      not null,
  request_id text    not null default '',
  prev     text      not null,
  hash     text      not null
);
create index audit_by_subject on audit (subject, seq);
