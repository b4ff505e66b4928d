-- +goose Up
alter table certification add column lapses bigint not null default 0;
alter table certification add column destroys bigint not null default 0;
alter table certification add column own_version text not null default '';
alter table certification add column own_bump text not null default '';
alter table pattern_version add column breaking text not null default '';
alter table token add column system text not null default '';
alter table token add column team text not null default '';
alter table token add column app text not null default '';
create table setting (
  name       text      primary key,
  value      text      not null,
  updated_at timestamp not null,
  updated_by text      not null
);
