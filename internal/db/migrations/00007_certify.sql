-- +goose Up
create table certification (
  change     text      not null,
  revision   bigint    not null,
  version    text      not null,
  bump       text      not null,
  reasons    text      not null,
  pattern    text      not null,
  digest     text      not null,
  effects    text      not null,
  needed     text      not null,
  created_at timestamp not null,
  primary key (change, revision)
);

create table approval (
  change     text      not null,
  revision   bigint    not null,
  discipline text      not null,
  person     text      not null,
  name       text      not null,
  decision   text      not null,
  reason     text      not null,
  digest     text      not null,
  at         timestamp not null,
  primary key (change, revision, person)
);
