-- Chats and their members. Each post updates a row in both tables; the fill factor leaves room for that in
-- their pages.

-- `last_seq` is the `seq` of the newest message; this row is locked before the next one is taken.
CREATE TABLE chats (
    id uuid PRIMARY KEY,
    title text NOT NULL,
    owner_id text NOT NULL REFERENCES users,
    assistant text NOT NULL CHECK (assistant IN ('always', 'mention', 'off')),
    context json,
    last_seq bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 80);

-- Unread by a member are last_seq - last_read_seq - own_above_read messages: those above the last one
-- read, but for the member's own.
CREATE TABLE members (
    chat_id uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    user_id text NOT NULL REFERENCES users,
    role text NOT NULL CHECK (role IN ('owner', 'member')),
    joined_at timestamptz NOT NULL,
    last_read_seq bigint NOT NULL DEFAULT 0,
    own_above_read bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (chat_id, user_id)
) WITH (fillfactor = 80);

CREATE INDEX members_by_user ON members (user_id, chat_id);
