-- Accounts: users, their sessions, and the refresh tokens of each session.

-- A user of another issuer has neither a username nor a password.
CREATE TABLE users (
    id text PRIMARY KEY,
    username text UNIQUE,
    display_name text NOT NULL,
    password_hash text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A session that was ended early stays until no token of it can live any longer.
CREATE TABLE sessions (
    id text PRIMARY KEY,
    user_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
);

CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- A spent token stays, so that its second use is noticed.
CREATE TABLE refresh_tokens (
    hash bytea PRIMARY KEY,
    session_id text NOT NULL REFERENCES sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    spent_at timestamptz
);

CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
