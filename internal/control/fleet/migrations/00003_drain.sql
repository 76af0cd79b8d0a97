-- +goose Up
ALTER TABLE planes ADD COLUMN drain_us BIGINT NOT NULL DEFAULT 0; -- when it was ordered; 0: the plane is to accept runs
ALTER TABLE planes ADD COLUMN drain_by TEXT NOT NULL DEFAULT '';
ALTER TABLE planes ADD COLUMN draining INTEGER NOT NULL DEFAULT 0; -- what the plane itself last told
