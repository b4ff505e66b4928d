-- +goose Up

-- A token that was made with another one ends with it.
alter table token add column parent text not null default '';
create index token_by_parent on token (parent) where parent <> '';

-- What a client calls its request, beside the id that Flywheel gave it.
alter table audit add column client_request_id text not null default '';
create index audit_by_client_request on audit (client_request_id) where client_request_id <> '';
create index audit_by_request on audit (request_id) where request_id <> '';
alter table event add column client_request_id text not null default '';
create index event_by_client_request on event (client_request_id) where client_request_id <> '';
alter table event_unnumbered add column client_request_id text not null default '';

-- Who may see an event; without a word, the Center of Excellence and admins only.
alter table event add column audience text not null default '';
alter table event_unnumbered add column audience text not null default '';
update event set audience = 'app' where app <> '';
update event set audience = 'everybody' where app = '' and (type like 'dev.cdeventsx.flywheel-pattern%' or type like 'dev.cdeventsx.flywheel-environment%'
  or type like 'dev.cdeventsx.flywheel-team%' or subject like 'chg_%');

-- Attempts to sign in, by what is counted: until when a key has something to work off, in microseconds since 1970.
create table attempt (
  key     text   primary key,
  full_at bigint not null
);
create index attempt_by_heat on attempt (full_at);

-- Browsers and networks from which a person has signed in before, as hashes.
create table known_client (
  hash    text      primary key,
  person  text      not null references person (id),
  seen_at timestamp not null
);
create index known_client_by_person on known_client (person, seen_at);
