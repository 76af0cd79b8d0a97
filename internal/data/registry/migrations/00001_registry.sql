-- Times are microseconds since 1970, UTC; 0 is never. seq is the store's change sequence.

-- +goose Up
CREATE TABLE projects (
    org         TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    labels      BYTEA   NOT NULL, -- flyteidl2.task.Labels
    state       INTEGER NOT NULL, -- flyteidl2.project.ProjectState
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL,
    seq         BIGINT  NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE INDEX projects_seq ON projects (seq);

-- One row per different task spec, whoever uses it: deployed tasks, runs of undeployed code, children.
CREATE TABLE specs (
    digest TEXT  NOT NULL PRIMARY KEY, -- SHA-256 of bytes, in hex
    bytes  BYTEA NOT NULL              -- flyteidl2.task.TaskSpec
);

CREATE TABLE tasks (
    org         TEXT    NOT NULL,
    project     TEXT    NOT NULL,
    domain      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    digest      TEXT    NOT NULL,
    short_name  TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    description TEXT    NOT NULL,
    entrypoint  INTEGER NOT NULL,
    latest      INTEGER NOT NULL, -- 1 on the version of each name that was deployed last
    created_at  BIGINT  NOT NULL, -- when it was deployed last; rises with each deployment of the name
    seq         BIGINT  NOT NULL,
    PRIMARY KEY (org, project, domain, name, version)
);
CREATE INDEX tasks_seq ON tasks (seq);
CREATE INDEX tasks_latest ON tasks (org, project, domain, latest, created_at);

CREATE TABLE triggers (
    org            TEXT    NOT NULL,
    project        TEXT    NOT NULL,
    domain         TEXT    NOT NULL,
    task           TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    revision       BIGINT  NOT NULL, -- goes on after a deletion
    task_version   TEXT    NOT NULL,
    active         INTEGER NOT NULL,
    spec           BYTEA   NOT NULL, -- flyteidl2.trigger.TriggerSpec
    automation     BYTEA   NOT NULL, -- flyteidl2.task.TriggerAutomationSpec
    catch_up       TEXT    NOT NULL, -- the annotation of the schedule package
    deployed_at    BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL,
    deleted_at     BIGINT  NOT NULL, -- not 0: a tombstone
    scheduled_from BIGINT  NOT NULL, -- the schedule counts from here: activation, or a change of the automation
    settled_at     BIGINT  NOT NULL, -- times up to this one have fired or were given up
    fired_at       BIGINT  NOT NULL, -- the last time that fired
    seq            BIGINT  NOT NULL,
    PRIMARY KEY (org, project, domain, task, name)
);
CREATE INDEX triggers_seq ON triggers (seq);

CREATE TABLE trigger_revisions (
    org        TEXT    NOT NULL,
    project    TEXT    NOT NULL,
    domain     TEXT    NOT NULL,
    task       TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    revision   BIGINT  NOT NULL,
    action     INTEGER NOT NULL, -- flyteidl2.trigger.TriggerRevisionAction
    active     INTEGER NOT NULL,
    spec       BYTEA   NOT NULL,
    automation BYTEA   NOT NULL,
    created_at BIGINT  NOT NULL,
    PRIMARY KEY (org, project, domain, task, name, revision)
);

-- domain and project are empty at the broader levels.
CREATE TABLE settings (
    org        TEXT   NOT NULL,
    domain     TEXT   NOT NULL,
    project    TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    settings   BYTEA  NOT NULL, -- flyteidl2.settings.Settings
    updated_at BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    PRIMARY KEY (org, domain, project)
);
CREATE INDEX settings_seq ON settings (seq);
