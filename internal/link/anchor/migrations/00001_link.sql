-- +goose Up
CREATE TABLE link_lives (
    number   BIGINT PRIMARY KEY,
    id       TEXT NOT NULL,
    began_at BIGINT NOT NULL
);
CREATE TABLE link_commands (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    applied BIGINT NOT NULL
);
INSERT INTO link_commands (one, applied) VALUES (1, 0);
