-- +goose Up
-- Who has opened which file of a change that is too long for its diff. content tells which patch it was.
create table opened_file (
  change  text      not null,
  person  text      not null,
  file    text      not null,
  content text      not null,
  at      timestamp not null,
  primary key (change, person, file, content)
);
