-- +goose Up
create table git_push (
  id         text      primary key,
  repo       text      not null,
  ref        text      not null,
  old_commit text      not null,
  new_commit text      not null,
  person     text      not null,
  at         timestamp not null
);
create index git_push_by_ref on git_push (repo, ref, at);

create table git_commit (
  repo   text not null,
  sha    text not null,
  person text not null,
  primary key (repo, sha, person)
);
