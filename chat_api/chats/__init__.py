"""Chats: chats, their members and their messages, as people change and read them.

Changing: `chats`, `members` and `messages` have the use cases. Each asks `membership` first, which locks the
chat and says who the caller is there, then changes rows and records events in the same transaction. Posting
goes by `messages` → `group_commit`: while one statement is in flight, posts wait and go in the next.

Reading: `chats` lists and shows, `history` has pages of messages and what a socket missed, and
`reply_in_progress` joins the text so far of the reply being written. `models` describes bodies and answers.

What must stay true:

- The chat is locked before `seq` or a position is taken: `seq` has no holes, events go out in commit order.
- What the caller may not see answers like what is not there.
- The lock is a statement of its own: the next sees what was committed before it.
- A removal answers when the gateways have been told, or after 2 s.

Decided otherwise than one might expect:

- Posts are stored by a function in the database: one round trip, and every statement after the lock sees
  what was committed before it. One statement of CTEs would judge by a snapshot older than the lock.
- Unread is two numbers, not a count: `lastSeq - lastReadSeq - own messages above it`, the last kept in the
  member's row. A list costs the same for a member who never reads.
- No index on (user_id, updated_at) for lists: a message in a chat of 1,000 would update 1,000 members' rows.
- `chat-updated` goes to each member separately, because each sees another `unread`.

It does not publish events, and does not write or end replies.
"""
