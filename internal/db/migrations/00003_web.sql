-- +goose Up
create table idempotency (
  person     text      not null,
  key        text      not null,
  request    text      not null,
  status     bigint    not null,
  headers    text      not null,
  body       text      not null,
  created_at timestamp not null,
  primary key (person, key)
);
create index idempotency_by_age on idempotency (created_at);

create table secret (
  app         text      not null,
  environment text      not null,
  name        text      not null,
  version     bigint    not null,
  value       text      not null,
  actor       text      not null,
  updated_at  timestamp not null,
  primary key (app, environment, name)
);
