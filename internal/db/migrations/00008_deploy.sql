-- +goose Up
create table deployment (
  id               text      primary key,
  app              text      not null,
  environment      text      not null,
  instance         text      not null,
  number           bigint    not null,
  change           text      not null,
  trigger_kind     text      not null,
  kind             text      not null,
  state            text      not null,
  reason           text      not null,
  code             text      not null default '',
  desired          text      not null,
  previous         text      not null,
  fence            bigint    not null,
  plan             text      not null,
  plan_digest      text      not null,
  destroys         text      not null,
  shown            text      not null,
  releases         bigint    not null,
  was              text      not null,
  cancelled_by     text      not null,
  evidence         text      not null,
  request_id       text      not null default '',
  created_by       text      not null,
  created_at       timestamp not null,
  started_at       timestamp,
  finished_at      timestamp,
  unique (instance, number)
);
create index deployment_waiting on deployment (instance, (trigger_kind <> 'rollback'), number) where state = 'waiting';
create index deployment_by_app on deployment (app, id);
create index deployment_by_change on deployment (change, id);
create index deployment_by_state on deployment (state, id);

create table deployment_step (
  deployment  text      not null,
  position    bigint    not null,
  name        text      not null,
  state       text      not null,
  detail      text      not null,
  started_at  timestamp not null,
  finished_at timestamp,
  primary key (deployment, position)
);

create table rollout (
  change      text      not null,
  position    bigint    not null,
  app         text      not null,
  environment text      not null,
  desired     text      not null,
  shown       text      not null,
  deployment  text      not null,
  state       text      not null,
  primary key (change, position)
);
create index rollout_carried on rollout (deployment) where state = 'carried';
create index rollout_not_here on rollout (app, environment) where state in ('carried', 'failed');
