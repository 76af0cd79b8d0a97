-- +goose Up
ALTER TABLE link_lives ADD COLUMN reports TEXT NOT NULL DEFAULT '';
