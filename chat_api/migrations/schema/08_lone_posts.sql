-- Stores one post, if it is accepted and asks for no reply; else it does nothing, and `store_post_group`
-- says what becomes of it: verdicts other than "created" are decided there alone.
--
-- To begin and to end the one statement of a group costs three times as much as these small ones. The
-- chat's row is locked first: each statement after it sees what others committed meanwhile.
CREATE FUNCTION store_lone_post(
    p_chat uuid, p_user text, p_session text, p_content text, p_reply_to uuid, p_metadata text,
    p_mention boolean, p_key text, p_fingerprint bytea, p_id uuid, p_request text, p_trace text,
    OUT is_stored boolean, OUT body text, OUT "time" timestamptz, OUT seq bigint, OUT users text[],
    OUT "position" bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    m messages;
    v_assistant text;
    v_is_member boolean;
BEGIN
    is_stored := false;
    SELECT c.last_seq + 1, c.assistant INTO m.seq, v_assistant
    FROM chats c WHERE c.id = p_chat FOR NO KEY UPDATE;
    SELECT array_agg(x.user_id ORDER BY x.user_id), bool_or(x.user_id = p_user) INTO users, v_is_member
    FROM members x WHERE x.chat_id = p_chat;
    IF v_is_member IS NOT TRUE
       OR v_assistant = 'always' OR (v_assistant = 'mention' AND p_mention)
       OR EXISTS (SELECT 1 FROM sessions s WHERE s.id = p_session AND s.ended_at IS NOT NULL)
       OR (p_reply_to IS NOT NULL AND NOT is_in_chat(p_reply_to, p_chat)) THEN
        RETURN;
    END IF;
    m.time := date_trunc('milliseconds', clock_timestamp());
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (user_id, key, fingerprint, message_id, created_at)
        VALUES (p_user, p_key, p_fingerprint, p_id, m.time)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    m.id := p_id; m.chat_id := p_chat; m.role := 'USER'; m.user_id := p_user; m.content := p_content;
    m.reply_to := p_reply_to; m.metadata := p_metadata::json;
    body := message_json(m)::text;
    INSERT INTO messages SELECT m.*;
    UPDATE chats c SET last_seq = m.seq, updated_at = m.time WHERE c.id = p_chat;
    UPDATE members x SET own_above_read = x.own_above_read + 1 WHERE x.chat_id = p_chat AND x.user_id = p_user;
    INSERT INTO events AS e (id, time, type, subject, name, rooms, users, seq, request_id, traceparent, body)
    VALUES (p_id::text, m.time, 'message.created', p_chat::text, 'new-msg', ARRAY['chat:' || p_chat],
            users, m.seq, p_request, p_trace, body)
    RETURNING e.position INTO position;
    is_stored := true; time := m.time; seq := m.seq;
END
$$;
