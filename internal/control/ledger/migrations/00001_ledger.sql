-- +goose Up
CREATE TABLE runs (
    id             BIGINT PRIMARY KEY,
    org            TEXT NOT NULL,
    plane          TEXT NOT NULL,
    project        TEXT NOT NULL,
    domain         TEXT NOT NULL,
    name           TEXT NOT NULL,
    timeline       BIGINT NOT NULL,
    seq            BIGINT NOT NULL, -- 0: only actions of it have been reported so far
    task           TEXT NOT NULL DEFAULT '',
    task_version   TEXT NOT NULL DEFAULT '',
    phase          INTEGER NOT NULL DEFAULT 0,
    created_us     BIGINT NOT NULL DEFAULT 0,
    started_us     BIGINT NOT NULL DEFAULT 0,
    ended_us       BIGINT NOT NULL DEFAULT 0,
    attempts       BIGINT NOT NULL DEFAULT 0,
    error_code     TEXT NOT NULL DEFAULT '',
    exit_class     INTEGER NOT NULL DEFAULT 0,
    source         INTEGER NOT NULL DEFAULT 0,
    trigger_name   TEXT NOT NULL DEFAULT '',
    relation       INTEGER NOT NULL DEFAULT 0,
    related_to     TEXT NOT NULL DEFAULT '',
    created_by     TEXT NOT NULL DEFAULT '',
    aborted_by     TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX runs_by_name ON runs (org, name, project, domain, plane);
CREATE INDEX runs_newest ON runs (org, created_us, id);
CREATE INDEX runs_newest_of_project ON runs (org, project, domain, created_us, id);
CREATE INDEX runs_by_timeline ON runs (org, plane, timeline);

CREATE TABLE actions (
    run          BIGINT NOT NULL,
    name         TEXT NOT NULL,
    timeline     BIGINT NOT NULL,
    seq          BIGINT NOT NULL,
    parent       TEXT NOT NULL,
    kind         INTEGER NOT NULL,
    short_name   TEXT NOT NULL,
    task         TEXT NOT NULL,
    task_version TEXT NOT NULL,
    phase        INTEGER NOT NULL,
    attempt      BIGINT NOT NULL,
    created_us   BIGINT NOT NULL,
    started_us   BIGINT NOT NULL,
    ended_us     BIGINT NOT NULL,
    cache_status INTEGER NOT NULL,
    error_code   TEXT NOT NULL,
    exit_class   INTEGER NOT NULL,
    inputs_uri   TEXT NOT NULL,
    outputs_uri  TEXT NOT NULL,
    reason       INTEGER NOT NULL,
    PRIMARY KEY (run, name)
);
CREATE INDEX actions_in_order ON actions (run, created_us, name);

CREATE TABLE attempts (
    run               BIGINT NOT NULL,
    action            TEXT NOT NULL,
    number            BIGINT NOT NULL,
    timeline          BIGINT NOT NULL,
    seq               BIGINT NOT NULL,
    phase             INTEGER NOT NULL,
    created_us        BIGINT NOT NULL,
    started_us        BIGINT NOT NULL,
    ended_us          BIGINT NOT NULL,
    error_code        TEXT NOT NULL,
    exit_class        INTEGER NOT NULL,
    cache_status      INTEGER NOT NULL,
    peak_memory_bytes BIGINT NOT NULL,
    cpu_us            BIGINT NOT NULL,
    PRIMARY KEY (run, action, number)
);
