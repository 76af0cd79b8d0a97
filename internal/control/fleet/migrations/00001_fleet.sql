-- +goose Up
CREATE TABLE planes (
    org               TEXT NOT NULL,
    name              TEXT NOT NULL,
    version           TEXT NOT NULL DEFAULT '',
    first_seen_us     BIGINT NOT NULL,
    last_heard_us     BIGINT NOT NULL,
    commands_issued   BIGINT NOT NULL DEFAULT 0,
    commands_applied  BIGINT NOT NULL DEFAULT 0,
    cpu_millis        BIGINT NOT NULL DEFAULT 0,
    cpu_millis_used   BIGINT NOT NULL DEFAULT 0,
    memory_bytes      BIGINT NOT NULL DEFAULT 0,
    memory_bytes_used BIGINT NOT NULL DEFAULT 0,
    attempts_running  BIGINT NOT NULL DEFAULT 0,
    actions_queued    BIGINT NOT NULL DEFAULT 0,
    runs_active       BIGINT NOT NULL DEFAULT 0,
    head              BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (org, name)
);
CREATE TABLE commands (
    org     TEXT NOT NULL,
    plane   TEXT NOT NULL,
    seq     BIGINT NOT NULL,
    command BLOB NOT NULL, -- biplane.link.v1.Command without its number
    PRIMARY KEY (org, plane, seq)
);
