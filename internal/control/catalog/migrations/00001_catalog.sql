-- +goose Up
CREATE TABLE projects (
    org        TEXT NOT NULL,
    plane      TEXT NOT NULL,
    id         TEXT NOT NULL,
    timeline   BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    name       TEXT NOT NULL,
    domains    TEXT NOT NULL, -- separated by commas
    archived   INTEGER NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    PRIMARY KEY (org, plane, id)
);
CREATE TABLE tasks (
    org         TEXT NOT NULL,
    plane       TEXT NOT NULL,
    project     TEXT NOT NULL,
    domain      TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     TEXT NOT NULL,
    timeline    BIGINT NOT NULL,
    seq         BIGINT NOT NULL,
    short_name  TEXT NOT NULL,
    environment TEXT NOT NULL,
    deployed_us BIGINT NOT NULL,
    deployed_by TEXT NOT NULL,
    PRIMARY KEY (org, plane, project, domain, name, version)
);
CREATE TABLE triggers (
    org           TEXT NOT NULL,
    plane         TEXT NOT NULL,
    project       TEXT NOT NULL,
    domain        TEXT NOT NULL,
    task          TEXT NOT NULL,
    name          TEXT NOT NULL,
    timeline      BIGINT NOT NULL,
    seq           BIGINT NOT NULL,
    revision      BIGINT NOT NULL,
    kind          INTEGER NOT NULL,
    active        INTEGER NOT NULL,
    task_version  TEXT NOT NULL,
    updated_us    BIGINT NOT NULL,
    last_fired_us BIGINT NOT NULL,
    next_fire_us  BIGINT NOT NULL,
    PRIMARY KEY (org, plane, project, domain, task, name)
);
