-- Replies of the assistant: one at a time in a chat is requested, the others are queued.

-- `turn` is the place in the chat's queue, where that is not `reply_to_seq`; `regenerates` is the message
-- of the assistant that this reply is another version of. A reply to be cancelled stays 'requested' until
-- it ends.
CREATE TABLE replies (
    id uuid PRIMARY KEY,
    chat_id uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    reply_to uuid NOT NULL,
    reply_to_seq bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('queued', 'requested', 'finished', 'failed', 'cancelled')),
    request_id text NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    cancel_requested_at timestamptz,
    regenerates uuid,
    turn bigint
);

CREATE UNIQUE INDEX one_reply_at_a_time ON replies (chat_id) WHERE status = 'requested';

CREATE INDEX replies_in_turn ON replies (chat_id, coalesce(turn, reply_to_seq), id) WHERE status = 'queued';

CREATE INDEX replies_by_chat ON replies (chat_id);

CREATE INDEX replies_to_cancel ON replies (cancel_requested_at)
    WHERE status = 'requested' AND cancel_requested_at IS NOT NULL;

-- Writes the event that asks a worker for a reply: all that the worker needs is in its body.
CREATE FUNCTION request_reply(p_reply uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (id, time, type, subject, request_id, traceparent, body)
    SELECT gen_random_uuid()::text, clock_timestamp(), 'reply.requested', r.id::text, r.request_id, r.traceparent,
           json_build_object(
               'replyId', r.id, 'chatId', r.chat_id, 'replyTo', r.reply_to, 'regenerates', r.regenerates,
               'title', c.title, 'context', c.context,
               'members', (SELECT coalesce(json_object_agg(u.id, u.display_name), '{}')
                           FROM members n JOIN users u ON u.id = n.user_id WHERE n.chat_id = r.chat_id),
               'history', (SELECT coalesce(json_agg(json_build_object(
                                      'id', h.id, 'role', h.role, 'userId', h.user_id,
                                      'name', h.display_name, 'content', h.content) ORDER BY h.seq), '[]')
                           FROM (SELECT x.id, x.seq, x.role, x.user_id, u.display_name, x.content
                                 FROM messages x LEFT JOIN users u ON u.id = x.user_id
                                 WHERE x.chat_id = r.chat_id AND x.seq <= r.reply_to_seq
                                   AND (x.deleted_at IS NULL OR x.id = r.reply_to)
                                 ORDER BY x.seq DESC LIMIT 20) AS h))::text
    FROM replies r JOIN chats c ON c.id = r.chat_id
    WHERE r.id = p_reply;
    PERFORM pg_notify('roomcast_outbox', '');
END
$$;
