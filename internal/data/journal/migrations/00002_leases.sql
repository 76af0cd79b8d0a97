-- +goose Up
ALTER TABLE runs ADD COLUMN epoch BIGINT NOT NULL DEFAULT 1;     -- of this plane's lease on the run; 1: born here
ALTER TABLE runs ADD COLUMN fenced INTEGER NOT NULL DEFAULT 0;   -- 1: another plane has the run, so nothing of it is reported
ALTER TABLE runs ADD COLUMN abort_code TEXT NOT NULL DEFAULT ''; -- of the root's error when it is aborted; empty: the usual one

-- What the control plane has ordered of the whole plane.
CREATE TABLE orders (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    draining INTEGER NOT NULL -- 1: no new runs
);
INSERT INTO orders (one, draining) VALUES (1, 0);
