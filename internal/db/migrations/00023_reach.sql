-- +goose Up
alter table environment add column reach text not null default '[]';
