-- Stores any number of posts and says of each what became of it; parameters and result are those of
-- `store_posts`.
--
-- The chats' rows are locked first, in the order of their ids, by a statement of its own: the statements
-- after it have a newer snapshot, so that what others committed meanwhile is seen. Then one statement
-- judges the posts (`judged`), claims their keys (`claimed`), numbers what is accepted (`accepted`),
-- inserts messages (`stored`), events (`told`) and replies (`asked`), and updates `chats` (`counted`) and
-- `members` (`own`).
--
-- To begin and to end a statement of so many parts is most of what a small group costs: what only few
-- posts need is no part of it, and the event's row alone says what became of a post.
CREATE FUNCTION store_post_group(
    p_chat uuid[], p_user text[], p_session text[], p_content text[], p_reply_to uuid[], p_metadata text[],
    p_mention boolean[], p_key text[], p_fingerprint bytea[], p_id uuid[], p_reply uuid[],
    p_request text[], p_trace text[], p_notify boolean
) RETURNS TABLE (
    ord bigint, verdict text, body text, "time" timestamptz, seq bigint, users text[], "position" bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_fresh timestamptz;
    v_row record;
BEGIN
    PERFORM 1 FROM chats WHERE id = ANY (p_chat) ORDER BY id FOR NO KEY UPDATE;
    v_now := date_trunc('milliseconds', clock_timestamp());
    v_fresh := v_now - interval '24 hours';
    FOR v_row IN
        WITH post AS (
            SELECT p.*, row_number() OVER (PARTITION BY p.user_id, p.key ORDER BY p.ord) AS use_of_key
            FROM unnest(p_chat, p_user, p_session, p_content, p_reply_to, p_metadata, p_mention, p_key,
                        p_fingerprint, p_id, p_reply, p_request, p_trace) WITH ORDINALITY
                 AS p (chat_id, user_id, session_id, content, reply_to, metadata, mention, key,
                       fingerprint, id, reply_id, request_id, traceparent, ord)
        ), judged AS (
            SELECT p.*, c.last_seq, c.assistant,
                   CASE WHEN s.ended_at IS NOT NULL THEN 'session_ended'
                        WHEN m.user_id IS NULL THEN 'not_found'
                        WHEN k.fingerprint = p.fingerprint THEN 'replayed'
                        WHEN k.fingerprint IS NOT NULL THEN 'idempotency_mismatch'
                        WHEN p.key IS NOT NULL AND p.use_of_key > 1 THEN 'again'
                        WHEN p.reply_to IS NOT NULL AND NOT is_in_chat(p.reply_to, p.chat_id)
                        THEN 'reply_not_found'
                        ELSE 'new' END AS verdict,
                   k.message_id, k.created_at AS first_at
            FROM post p
            LEFT JOIN sessions s ON s.id = p.session_id
            LEFT JOIN chats c ON c.id = p.chat_id
            LEFT JOIN members m ON m.chat_id = p.chat_id AND m.user_id = p.user_id
            LEFT JOIN idempotency_keys k
                   ON k.user_id = p.user_id AND k.key = p.key AND k.created_at > v_fresh
        ), claimed AS (
            INSERT INTO idempotency_keys AS k (user_id, key, fingerprint, message_id, created_at)
            SELECT j.user_id, j.key, j.fingerprint, j.id, v_now FROM judged j
            WHERE j.verdict = 'new' AND j.key IS NOT NULL
            ORDER BY j.user_id, j.key
            ON CONFLICT (user_id, key) DO UPDATE
                SET fingerprint = excluded.fingerprint, message_id = excluded.message_id,
                    created_at = excluded.created_at
                WHERE k.created_at <= v_fresh
            RETURNING k.user_id, k.key
        ), accepted AS (
            SELECT j.*,
                   j.last_seq + row_number() OVER (PARTITION BY j.chat_id ORDER BY j.ord) AS seq,
                   j.assistant = 'always' OR (j.assistant = 'mention' AND j.mention) AS wants_reply
            FROM judged j LEFT JOIN claimed d ON d.user_id = j.user_id AND d.key = j.key
            WHERE j.verdict = 'new' AND (j.key IS NULL OR d.key IS NOT NULL)
        ), shaped AS (
            SELECT a.ord, a.chat_id, a.request_id, a.traceparent,
                   ROW(a.id, a.chat_id, a.seq, 'USER', a.user_id, a.content, v_now, a.reply_to,
                       a.metadata::json, NULL, NULL)::messages AS m
            FROM accepted a
        ), spoken AS (
            SELECT s.*, message_json(s.m)::text AS body FROM shaped s
        ), stored AS (
            INSERT INTO messages SELECT (s.m).* FROM spoken s
        ), counted AS (
            UPDATE chats c SET last_seq = x.seq, updated_at = v_now
            FROM (SELECT a.chat_id, max(a.seq) AS seq FROM accepted a GROUP BY a.chat_id) x
            WHERE c.id = x.chat_id
        ), own AS (
            UPDATE members m SET own_above_read = m.own_above_read + x.n
            FROM (SELECT a.chat_id, a.user_id, count(*) AS n FROM accepted a GROUP BY 1, 2) x
            WHERE m.chat_id = x.chat_id AND m.user_id = x.user_id
        ), audience AS (
            SELECT m.chat_id, array_agg(m.user_id ORDER BY m.user_id) AS users FROM members m
            WHERE m.chat_id IN (SELECT a.chat_id FROM accepted a) GROUP BY m.chat_id
        ), told AS (
            INSERT INTO events (id, time, type, subject, name, rooms, users, seq, request_id, traceparent, body)
            SELECT (s.m).id::text, v_now, 'message.created', s.chat_id::text, 'new-msg',
                   ARRAY['chat:' || s.chat_id], u.users, (s.m).seq, s.request_id, s.traceparent, s.body
            FROM spoken s JOIN audience u ON u.chat_id = s.chat_id
            ORDER BY s.ord
            RETURNING id, seq, users, body, position
        ), asked AS (
            INSERT INTO replies (id, chat_id, reply_to, reply_to_seq, status, request_id, traceparent, created_at)
            SELECT a.reply_id, a.chat_id, a.id, a.seq,
                   CASE WHEN row_number() OVER (PARTITION BY a.chat_id ORDER BY a.ord) > 1
                          OR EXISTS (SELECT 1 FROM replies r
                                     WHERE r.chat_id = a.chat_id AND r.status IN ('queued', 'requested'))
                        THEN 'queued' ELSE 'requested' END,
                   a.request_id, a.traceparent, v_now
            FROM accepted a WHERE a.wants_reply
            RETURNING id, status
        )
        SELECT j.ord,
               CASE WHEN j.verdict <> 'new' THEN j.verdict
                    WHEN t.id IS NULL THEN 'again' ELSE 'created' END AS verdict,
               t.body, t.seq, t.users, t.position, j.message_id, j.first_at, q.id AS started
        FROM judged j
        LEFT JOIN told t ON t.id = j.id::text
        LEFT JOIN asked q ON q.id = j.reply_id AND q.status = 'requested'
        ORDER BY j.ord
    LOOP
        IF v_row.started IS NOT NULL THEN
            PERFORM request_reply(v_row.started);
        END IF;
        ord := v_row.ord;
        verdict := v_row.verdict;
        body := v_row.body;
        IF verdict = 'replayed' THEN
            SELECT e.body INTO body FROM events e
            WHERE e.id = v_row.message_id::text AND e.time = v_row.first_at;
        END IF;
        time := v_now;
        seq := v_row.seq;
        users := v_row.users;
        position := v_row.position;
        RETURN NEXT;
    END LOOP;
    IF p_notify THEN
        PERFORM pg_notify('roomcast_outbox', '');
    END IF;
END
$$;
