-- Posts: messages of users, judged and stored, several in one transaction. A post that comes alone is
-- tried by `store_lone_post` first; all others are stored by `store_post_group`.
--
-- They are functions because that takes one round trip, and because each statement after the lock sees what
-- was committed before it: one statement with CTEs alone would judge by a snapshot older than the lock.

-- Keys of posts: a post that is repeated with its key within 24 hours gets the first one's answer.
CREATE TABLE idempotency_keys (
    user_id text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    message_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Stores posts, and says of each what became of it; one post's refusal touches no other.
--
-- Verdicts: created, replayed, again (the same key is in flight: post it once more), session_ended,
-- not_found, idempotency_mismatch, reply_not_found. `body` is the message's JSON where there is one. For a
-- created message the rest describes its event, so that an API that relays the outbox itself need not read
-- it again; with `p_notify` false the relay is not woken for it.
CREATE FUNCTION store_posts(
    p_chat uuid[], p_user text[], p_session text[], p_content text[], p_reply_to uuid[], p_metadata text[],
    p_mention boolean[], p_key text[], p_fingerprint bytea[], p_id uuid[], p_reply uuid[],
    p_request text[], p_trace text[], p_notify boolean
) RETURNS TABLE (
    ord bigint, verdict text, body text, "time" timestamptz, seq bigint, users text[], "position" bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    v_is_stored boolean;
BEGIN
    IF cardinality(p_chat) = 1 THEN
        SELECT p.* INTO v_is_stored, body, time, seq, users, position FROM store_lone_post(
            p_chat[1], p_user[1], p_session[1], p_content[1], p_reply_to[1], p_metadata[1], p_mention[1], p_key[1],
            p_fingerprint[1], p_id[1], p_request[1], p_trace[1]
        ) p;
        IF v_is_stored THEN
            ord := 1;
            verdict := 'created';
            RETURN NEXT;
            IF p_notify THEN
                PERFORM pg_notify('roomcast_outbox', '');
            END IF;
            RETURN;
        END IF;
    END IF;
    RETURN QUERY SELECT g.* FROM store_post_group(
        p_chat, p_user, p_session, p_content, p_reply_to, p_metadata, p_mention, p_key, p_fingerprint, p_id, p_reply,
        p_request, p_trace, p_notify
    ) g;
END
$$;

-- Returns whether the message is in the chat. It is a function so that it has a plan of its own: within
-- another statement PostgreSQL may choose to read all messages once rather than look for one.
CREATE FUNCTION is_in_chat(p_message uuid, p_chat uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM messages x WHERE x.id = p_message AND x.chat_id = p_chat);
END
$$;
