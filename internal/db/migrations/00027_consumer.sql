-- +goose Up
-- How far each consumer of facts has come, and the fact that it cannot pass, if there is one.
create table consumer (
  name       text      primary key,
  seq        bigint    not null,
  stands_at  bigint    not null default 0,
  attempts   bigint    not null default 0,
  failure    text      not null default '',
  next_at    timestamp,
  updated_at timestamp not null
);
