-- The JSON that clients get, in one place: REST answers and event bodies are made by these functions.

CREATE FUNCTION rfc3339(t timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

CREATE FUNCTION message_json(m messages) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT row_to_json(shape) FROM (
        SELECT (m).id AS id, (m).chat_id AS "chatId", (m).seq AS seq, (m).role AS role,
               (m).user_id AS "userId", (m).content AS content, rfc3339((m).time) AS time,
               (m).reply_to AS "replyTo", (m).metadata AS metadata,
               rfc3339((m).edited_at) AS "editedAt", rfc3339((m).deleted_at) AS "deletedAt"
    ) AS shape
$$;

-- A member of a chat; events name the chat, too (`with_chat`).
CREATE FUNCTION member_json(m members, with_chat boolean) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN with_chat
        THEN json_build_object(
            'chatId', (m).chat_id, 'userId', (m).user_id, 'displayName', u.display_name,
            'role', (m).role, 'joinedAt', rfc3339((m).joined_at))
        ELSE json_build_object(
            'userId', (m).user_id, 'displayName', u.display_name,
            'role', (m).role, 'joinedAt', rfc3339((m).joined_at))
        END
    FROM users u WHERE u.id = (m).user_id
$$;

-- A chat as one of its members sees it. Unread is what others wrote above the member's read seq:
-- everything above it but the member's own.
CREATE FUNCTION chat_json(c chats, m members) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT row_to_json(shape) FROM (
        SELECT (c).id AS id, (c).title AS title, (c).owner_id AS "ownerId", (c).assistant AS assistant,
               (c).context AS context, (c).last_seq AS "lastSeq",
               rfc3339((c).created_at) AS "createdAt", rfc3339((c).updated_at) AS "updatedAt",
               (SELECT message_json(x) FROM messages x
                WHERE x.chat_id = (c).id AND x.seq = (c).last_seq) AS "lastMessage",
               (c).last_seq - (m).last_read_seq - (m).own_above_read AS unread
    ) AS shape
$$;
