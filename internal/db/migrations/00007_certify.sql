-- +goose Up
create table certification (
  change     text      not null,
  revision   bigint    not null,
  version    text      not null,
  bump       text      not null,
  reasons    text      not null,
  pattern    text      not null,
  manifest   text      not null,
  interface  text      not null,
  digest     text      not null,
  needed     text      not null,
  passes     bigint    not null,
  created_at timestamp not null,
  primary key (change, revision)
);

create table effect (
  change        text      not null,
  revision      bigint    not null,
  instance      text      not null,
  app           text      not null,
  environment   text      not null,
  class         text      not null,
  team          text      not null,
  version       text      not null,
  gravity       bigint    not null,
  outcome       text      not null,
  summary       text      not null,
  needs_value   text      not null,
  out_of_bounds text      not null,
  destructive   text      not null default 'null',
  error         text      not null default '',
  plan_digest   text      not null default '',
  plan          text      not null default 'null',
  position      bigint    not null,
  seen_at       timestamp not null,
  looked_at     timestamp not null,
  primary key (change, revision, instance)
);
create index effect_in_order on effect (change, revision, gravity, app, environment);

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
