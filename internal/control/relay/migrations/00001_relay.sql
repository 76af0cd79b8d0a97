-- +goose Up
CREATE TABLE relay_replicas (
    name    TEXT NOT NULL PRIMARY KEY, -- made anew by each process
    address TEXT NOT NULL,             -- host:port at which its like reach it
    beat    BIGINT NOT NULL            -- rises while it lives
);
CREATE TABLE relay_planes (
    replica  TEXT NOT NULL,
    org      TEXT NOT NULL,
    plane    TEXT NOT NULL,
    sessions BIGINT NOT NULL, -- more than none
    PRIMARY KEY (replica, org, plane)
);
CREATE INDEX relay_planes_by_plane ON relay_planes (org, plane);
