-- A reply that somebody cancelled is ended by whoever writes it; `turn` is a place in the chat's queue, where
-- it is not that of the message answered.
ALTER TABLE replies ADD COLUMN cancel_requested_at timestamptz,
                    ADD COLUMN regenerates uuid,
                    ADD COLUMN turn bigint
-- ;;
CREATE INDEX replies_to_cancel ON replies (cancel_requested_at)
    WHERE status = 'requested' AND cancel_requested_at IS NOT NULL
-- ;;
DROP INDEX replies_in_turn
-- ;;
CREATE INDEX replies_in_turn ON replies (chat_id, coalesce(turn, reply_to_seq), id) WHERE status = 'queued'
-- ;;
-- Writes the event that asks a worker for a reply: all that the worker needs is in its body.
CREATE OR REPLACE FUNCTION request_reply(p_reply uuid) RETURNS void LANGUAGE plpgsql AS $$
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
$$
