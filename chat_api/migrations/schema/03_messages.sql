-- Messages, partitioned by quarters of their time. No foreign keys lead out of this table: a message is
-- inserted only under the lock on its chat's row.

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
) PARTITION BY RANGE (time);

CREATE INDEX messages_by_chat ON messages (chat_id, seq DESC);

-- Appends one message to a chat that the caller has locked, with its event; returns the message's JSON.
CREATE FUNCTION append_message(
    p_chat uuid, p_id uuid, p_role text, p_user text, p_content text, p_reply_to uuid, p_metadata json,
    p_request text, p_trace text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    m messages;
    v_body text;
BEGIN
    UPDATE chats SET last_seq = last_seq + 1,
                     updated_at = date_trunc('milliseconds', clock_timestamp())
    WHERE id = p_chat
    RETURNING last_seq, updated_at INTO STRICT m.seq, m.time;
    m.id := p_id; m.chat_id := p_chat; m.role := p_role; m.user_id := p_user; m.content := p_content;
    m.reply_to := p_reply_to; m.metadata := p_metadata;
    INSERT INTO messages SELECT m.*;
    v_body := message_json(m)::text;
    INSERT INTO events (id, time, type, subject, name, rooms, users, seq, request_id, traceparent, body)
    VALUES (p_id::text, m.time, 'message.created', p_chat::text, 'new-msg', ARRAY['chat:' || p_chat],
            ARRAY(SELECT user_id FROM members WHERE chat_id = p_chat ORDER BY user_id),
            m.seq, p_request, p_trace, v_body);
    PERFORM pg_notify('roomcast_outbox', '');
    RETURN v_body;
END
$$;
