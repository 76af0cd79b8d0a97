-- +goose Up
CREATE TABLE cursors (
    org          TEXT NOT NULL,
    plane        TEXT NOT NULL,
    life         TEXT NOT NULL,
    timeline     BIGINT NOT NULL,
    cursor       BIGINT NOT NULL,
    resend_until BIGINT NOT NULL, -- above 0: everything is being sent again, up to this number
    PRIMARY KEY (org, plane)
);
