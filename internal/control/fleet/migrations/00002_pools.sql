-- +goose Up
ALTER TABLE planes ADD COLUMN pool TEXT NOT NULL DEFAULT 'default';
ALTER TABLE planes ADD COLUMN removed_us BIGINT NOT NULL DEFAULT 0;
CREATE TABLE front_doors (
    name  TEXT NOT NULL PRIMARY KEY, -- a host name, in lower case
    org   TEXT NOT NULL,
    plane TEXT NOT NULL
);
CREATE INDEX front_doors_by_plane ON front_doors (org, plane);
