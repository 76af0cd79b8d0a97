-- +goose Up

-- Times are microseconds since 1970 UTC; 0 is "not yet". Phases, kinds, statuses have the numbers of the protocol.

CREATE TABLE runs (
    id             BIGINT PRIMARY KEY,
    org            TEXT NOT NULL,
    project        TEXT NOT NULL,
    domain         TEXT NOT NULL,
    name           TEXT NOT NULL,
    digest         TEXT NOT NULL,              -- of the request that made it
    run_spec       BYTEA NOT NULL,
    facts          TEXT NOT NULL,              -- JSON: what the engine must know again after a restart
    source         INTEGER NOT NULL,
    task_project   TEXT NOT NULL,
    task_domain    TEXT NOT NULL,
    task_name      TEXT NOT NULL,
    task_version   TEXT NOT NULL,
    trigger_task   TEXT NOT NULL DEFAULT '',
    trigger_name   TEXT NOT NULL DEFAULT '',
    related_to     TEXT NOT NULL DEFAULT '',
    relation       INTEGER NOT NULL DEFAULT 0,
    created_by     TEXT NOT NULL DEFAULT '',
    aborting       INTEGER NOT NULL DEFAULT 0,
    abort_reason   TEXT NOT NULL DEFAULT '',
    aborted_by     TEXT NOT NULL DEFAULT '',
    created_at     BIGINT NOT NULL,
    -- of the root action, so that lists of runs need no join
    phase          INTEGER NOT NULL,
    attempt        INTEGER NOT NULL,
    started_at     BIGINT NOT NULL,
    ended_at       BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    open           INTEGER NOT NULL,           -- 1 while an action of it is not finished
    seq            BIGINT NOT NULL,
    UNIQUE (org, project, domain, name)
);
CREATE INDEX runs_by_name ON runs (name);
CREATE INDEX runs_by_time ON runs (project, domain, created_at, id);
CREATE INDEX runs_by_seq ON runs (seq);
CREATE INDEX runs_open ON runs (id) WHERE open = 1;

CREATE TABLE run_labels (
    run_id BIGINT NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
);

-- Task specifications, each once however many actions have it.
CREATE TABLE action_specs (
    digest TEXT PRIMARY KEY,
    spec   BYTEA NOT NULL
);

-- Rows lie in the order in which they came, not by their names, which are hashes: otherwise each new row changes a page of its own.
CREATE TABLE actions (
    run_id          BIGINT NOT NULL,
    name            TEXT NOT NULL,
    parent          TEXT NOT NULL,
    kind            INTEGER NOT NULL,
    grp             TEXT NOT NULL,
    spec            TEXT NOT NULL,             -- digest; empty unless a task
    task_name       TEXT NOT NULL,
    input_uri       TEXT NOT NULL,
    output_base     TEXT NOT NULL,
    cache_key       TEXT NOT NULL,
    queue           TEXT NOT NULL,
    sleep_us        BIGINT NOT NULL,
    timeout_us      BIGINT NOT NULL,
    detail          BYTEA,                     -- of a trace or a condition
    created_at      BIGINT NOT NULL,
    phase           INTEGER NOT NULL,
    wait            INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    cache_status    INTEGER NOT NULL,
    queued_at       BIGINT NOT NULL,           -- of the last attempt, as the next two
    initialized_at  BIGINT NOT NULL,
    started_at      BIGINT NOT NULL,
    ended_at        BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    retry_at        BIGINT NOT NULL,
    user_failures   INTEGER NOT NULL,
    system_failures INTEGER NOT NULL,
    output_uri      TEXT NOT NULL,
    value           BYTEA,                     -- of a signalled condition
    error_code      TEXT NOT NULL,
    error_message   TEXT NOT NULL,
    error_kind      INTEGER NOT NULL,
    recoverable     INTEGER NOT NULL,
    from_run        TEXT NOT NULL,             -- whose outputs these are: a cache hit's, or the recovered run's
    from_action     TEXT NOT NULL,
    from_attempt    INTEGER NOT NULL,
    abort_reason    TEXT NOT NULL,
    aborted_by      TEXT NOT NULL,
    stop            INTEGER NOT NULL,
    peak_memory     BIGINT NOT NULL,
    cpu_us          BIGINT NOT NULL,
    seq             BIGINT NOT NULL,
    PRIMARY KEY (run_id, name)
);
CREATE INDEX actions_by_parent ON actions (run_id, parent, seq);
CREATE INDEX actions_by_seq ON actions (seq);
CREATE INDEX actions_by_time ON actions (run_id, created_at, name);

-- Attempts that were followed by another; the last one is in its action's row.
CREATE TABLE attempts (
    run_id         BIGINT NOT NULL,
    action         TEXT NOT NULL,
    attempt        INTEGER NOT NULL,
    phase          INTEGER NOT NULL,
    queued_at      BIGINT NOT NULL,
    initialized_at BIGINT NOT NULL,
    started_at     BIGINT NOT NULL,
    ended_at       BIGINT NOT NULL,
    error_code     TEXT NOT NULL,
    error_message  TEXT NOT NULL,
    error_kind     INTEGER NOT NULL,
    recoverable    INTEGER NOT NULL,
    peak_memory    BIGINT NOT NULL,
    cpu_us         BIGINT NOT NULL,
    seq            BIGINT NOT NULL,
    PRIMARY KEY (run_id, action, attempt)
);
CREATE INDEX attempts_by_seq ON attempts (seq);

CREATE TABLE cache_entries (
    key        TEXT PRIMARY KEY,               -- scoped
    run        TEXT NOT NULL,                  -- project/domain/run
    action     TEXT NOT NULL,
    attempt    INTEGER NOT NULL,
    output_uri TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
