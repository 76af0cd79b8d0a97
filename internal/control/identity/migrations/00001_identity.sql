-- +goose Up
CREATE TABLE authorities (
    number      BIGINT NOT NULL PRIMARY KEY, -- 0 is the root
    certificate BLOB NOT NULL,               -- DER
    sealed_key  BLOB NOT NULL,               -- PKCS #8, encrypted with a key that is not in this database
    created_us  BIGINT NOT NULL,
    expires_us  BIGINT NOT NULL
);
CREATE TABLE identities (
    org             TEXT NOT NULL,
    name            TEXT NOT NULL,
    added_us        BIGINT NOT NULL,
    removed_us      BIGINT NOT NULL DEFAULT 0,
    generation      BIGINT NOT NULL DEFAULT 0, -- rises with every enrolment and removal
    step            BIGINT NOT NULL DEFAULT 0, -- renewals within the generation
    current_print   BLOB,                      -- SHA-256 of the newest certificate
    current_key     BLOB,                      -- SHA-256 of its public key
    current_chain   BLOB,                      -- DER, its certificate first: to answer again when the answer was lost
    previous_print  BLOB,
    confirmed_us    BIGINT NOT NULL DEFAULT 0, -- when the newest was shown first; the previous is refused from then on
    expires_us      BIGINT NOT NULL DEFAULT 0,
    copied_us       BIGINT NOT NULL DEFAULT 0, -- when a second holder was noticed last
    PRIMARY KEY (org, name)
);
CREATE TABLE tokens (
    id           TEXT NOT NULL PRIMARY KEY,
    org          TEXT NOT NULL,
    plane        TEXT NOT NULL,
    secret_hash  BLOB NOT NULL,              -- SHA-256 of a secret of 130 bits
    created_us   BIGINT NOT NULL,
    expires_us   BIGINT NOT NULL,
    withdrawn_us BIGINT NOT NULL DEFAULT 0,
    used_us      BIGINT NOT NULL DEFAULT 0,
    used_key     BLOB                        -- SHA-256 of the public key that it was used with
);
CREATE INDEX tokens_by_plane ON tokens (org, plane);
CREATE TABLE identity_events (
    number  BIGINT NOT NULL PRIMARY KEY,
    at_us   BIGINT NOT NULL,
    org     TEXT NOT NULL,
    plane   TEXT NOT NULL,
    event   TEXT NOT NULL,
    actor   TEXT NOT NULL,
    detail  TEXT NOT NULL
);
CREATE INDEX identity_events_by_plane ON identity_events (org, plane, number);
