-- +goose Up
create table replica (
  name    text      primary key,
  seen_at timestamp not null
);
