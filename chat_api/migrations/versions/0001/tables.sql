CREATE TABLE users (
    id text PRIMARY KEY,
    username text UNIQUE,
    display_name text NOT NULL,
    password_hash text,
    created_at timestamptz NOT NULL DEFAULT now()
)
-- ;;
CREATE TABLE sessions (
    id text PRIMARY KEY,
    user_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
)
-- ;;
CREATE INDEX sessions_by_expiry ON sessions (expires_at)
-- ;;
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL
-- ;;
CREATE TABLE refresh_tokens (
    hash bytea PRIMARY KEY,
    session_id text NOT NULL REFERENCES sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    spent_at timestamptz
)
-- ;;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id)
-- ;;
CREATE TABLE chats (
    id uuid PRIMARY KEY,
    title text NOT NULL,
    owner_id text NOT NULL REFERENCES users,
    assistant text NOT NULL CHECK (assistant IN ('always', 'mention', 'off')),
    context json,
    last_seq bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 80)
-- ;;
CREATE TABLE members (
    chat_id uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    user_id text NOT NULL REFERENCES users,
    role text NOT NULL CHECK (role IN ('owner', 'member')),
    joined_at timestamptz NOT NULL,
    last_read_seq bigint NOT NULL DEFAULT 0,
    own_above_read bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (chat_id, user_id)
) WITH (fillfactor = 80)
-- ;;
CREATE INDEX members_by_user ON members (user_id, chat_id)
-- ;;
CREATE TABLE messages (
    id uuid NOT NULL,
    chat_id uuid NOT NULL,
    seq bigint NOT NULL,
    role text NOT NULL CHECK (role IN ('USER', 'AI', 'SYSTEM')),
    user_id text,
    content text NOT NULL,
    time timestamptz NOT NULL,
    reply_to uuid,
    metadata json,
    edited_at timestamptz,
    deleted_at timestamptz,
    PRIMARY KEY (id, time)
) PARTITION BY RANGE (time)
-- ;;
CREATE INDEX messages_by_chat ON messages (chat_id, seq DESC)
-- ;;
CREATE TABLE replies (
    id uuid PRIMARY KEY,
    chat_id uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    reply_to uuid NOT NULL,
    reply_to_seq bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('queued', 'requested', 'finished', 'failed', 'cancelled')),
    request_id text NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
)
-- ;;
CREATE UNIQUE INDEX one_reply_at_a_time ON replies (chat_id) WHERE status = 'requested'
-- ;;
CREATE INDEX replies_in_turn ON replies (chat_id, reply_to_seq, id) WHERE status = 'queued'
-- ;;
CREATE INDEX replies_by_chat ON replies (chat_id)
-- ;;
CREATE TABLE idempotency_keys (
    user_id text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    message_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
)
-- ;;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at)
-- ;;
CREATE SEQUENCE events_position
-- ;;
CREATE TABLE events (
    position bigint NOT NULL DEFAULT nextval('events_position'),
    id text NOT NULL,
    time timestamptz NOT NULL,
    type text NOT NULL,
    source text NOT NULL DEFAULT '/roomcast/api',
    subject text NOT NULL DEFAULT '',
    name text NOT NULL DEFAULT '',
    rooms text[] NOT NULL DEFAULT '{}',
    users text[] NOT NULL DEFAULT '{}',
    seq bigint,
    everywhere boolean NOT NULL DEFAULT false,
    request_id text NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT '',
    body text NOT NULL,
    published_at timestamptz,
    PRIMARY KEY (id, time)
) PARTITION BY RANGE (time)
-- ;;
CREATE INDEX events_unpublished ON events (position) WHERE published_at IS NULL
-- ;;
CREATE INDEX events_by_position ON events (position)
-- ;;
CREATE TABLE handled_events (
    id text PRIMARY KEY,
    handled_at timestamptz NOT NULL DEFAULT now()
)
-- ;;
CREATE INDEX handled_events_by_age ON handled_events (handled_at)
