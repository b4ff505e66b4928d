-- +goose Up
-- What a rollback changed when it was asked for, to be taken back if it is never carried out.
alter table deployment add column undo text not null default 'null';
