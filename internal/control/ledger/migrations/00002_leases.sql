-- +goose Up
-- The number of the lease under which a row was reported. The rows of runs with one name are the register of that name.
ALTER TABLE runs ADD COLUMN epoch BIGINT NOT NULL DEFAULT 1;
ALTER TABLE actions ADD COLUMN epoch BIGINT NOT NULL DEFAULT 1;
ALTER TABLE attempts ADD COLUMN epoch BIGINT NOT NULL DEFAULT 1;

-- Which planes were told that a lease of theirs is over.
CREATE TABLE stops (
    org     TEXT NOT NULL,
    plane   TEXT NOT NULL,
    project TEXT NOT NULL,
    domain  TEXT NOT NULL,
    run     TEXT NOT NULL,
    epoch   BIGINT NOT NULL,
    reason  INTEGER NOT NULL,
    PRIMARY KEY (org, plane, run, project, domain, epoch, reason)
);
