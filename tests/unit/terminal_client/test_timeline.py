"""The terminal client's pieces that put things in order: messages, replies, people."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomcast.chat.conversation import people
from roomcast.chat.conversation.people import People
from roomcast.chat.conversation.reply import LiveReply, ReplyText
from roomcast.chat.conversation.timeline import Timeline
from roomcast.chat.models import Chunk, Member, Message, Reply, Status

ANN = Member(userId="ann", displayName="Ann", role="owner")
BEN = Member(userId="ben", displayName="Ben", role="member")


def message(seq: int, role: str = "USER", **more: object) -> Message:
    fields = {
        "id": f"m{seq}",
        "chatId": "c",
        "seq": seq,
        "role": role,
        "userId": "ann",
        "content": f"text {seq}",
    }
    return Message.model_validate({**fields, "time": "2026-11-21T09:30:00.123Z", **more})


def chunk(index: int, content: str, reply_id: str = "r") -> Chunk:
    return Chunk(replyId=reply_id, index=index, content=content)


def status(word: str, reply_id: str = "r", **data: str) -> Status:
    return Status(replyId=reply_id, status=word, data=data)


@given(arrivals=st.lists(st.lists(st.integers(1, 30), max_size=8), max_size=30), start=st.integers(0, 10))
def test_each_message_is_given_out_once_and_in_order(arrivals: list[list[int]], start: int) -> None:
    """For any arrivals, repeats included: in `seq` order, no hole, nothing held back that could go."""
    timeline = Timeline(start)
    given_out = [it.seq for batch in arrivals for it in timeline.add(map(message, batch))]
    arrived = {seq for batch in arrivals for seq in batch}
    following = start + 1
    while following in arrived:
        following += 1
    assert given_out == list(range(start + 1, following))
    assert timeline.last_seq == following - 1
    assert timeline.gap == any(seq > timeline.last_seq for seq in arrived)


def test_what_is_not_kept_any_more_is_not_waited_for() -> None:
    """The API's answer begins with the oldest message that is left, or holds none."""
    timeline = Timeline(3)
    assert [it.seq for it in timeline.resume([message(8), message(9)], 9)] == [8, 9]
    assert [it.seq for it in timeline.add([message(10)])] == [10]
    assert timeline.resume([message(9)], 10) == []
    assert timeline.resume([], 20) == []
    assert [it.seq for it in timeline.add([message(21)])] == [21]


@given(
    texts=st.lists(st.text(max_size=5), min_size=1, max_size=15),
    joined_at=st.integers(0, 15),
    order=st.randoms(use_true_random=False),
)
def test_a_reply_is_whole_however_its_chunks_arrive(texts: list[str], joined_at: int, order: Random) -> None:
    """Late, early, twice, or with a resume in the middle: the text is exactly the chunks'."""
    chunks = list(enumerate(texts)) * 2
    order.shuffle(chunks)
    reply = ReplyText("r")
    cut = min(joined_at, len(texts))
    for number, (index, text) in enumerate(chunks):
        if number == len(texts):
            reply.resume(Reply(replyId="r", content="".join(texts[:cut]), nextIndex=cut))
        reply.add(index, text)
    assert reply.content == "".join(texts)


def test_a_reply_resumes_where_the_server_is() -> None:
    """Chunks below `nextIndex` may repeat; those after it count."""
    live = LiveReply()
    live.resume(Reply(replyId="r", content="one two ", nextIndex=2))
    live.add(chunk(1, "two "))
    live.add(chunk(2, "three"))
    assert live.content == "one two three"


def test_a_second_attempt_begins_anew() -> None:
    """`thinking` again: what the first attempt wrote is gone."""
    live = LiveReply()
    live.status(status("thinking"))
    live.add(chunk(0, "first"))
    live.status(status("thinking"))
    live.add(chunk(0, "second"))
    assert live.content == "second"


def test_only_the_latest_attempt_counts() -> None:
    """Told by `thinking`, by a chunk or by the server; what comes late of an earlier one is dropped."""
    live = LiveReply()
    live.add(chunk(0, "first"))
    assert live.writing == "r"
    live.add(Chunk(replyId="r", index=0, content="second ", attempt=2))
    live.add(chunk(1, "zombie"))
    live.status(status("thinking"))
    live.add(Chunk(replyId="r", index=1, content="try", attempt=2))
    assert live.content == "second try"
    live.resume(Reply(replyId="r", content="third", nextIndex=1, attempt=3))
    live.resume(Reply(replyId="r", content="second try", nextIndex=2, attempt=2))
    assert live.content == "third"


def test_a_whole_reply_is_not_written_again() -> None:
    """Repeats after its message show nothing."""
    live = LiveReply()
    live.add(chunk(0, "all of it"))
    live.whole(message(1, "AI", id="r"))
    live.add(chunk(0, "all of it"))
    live.status(status("thinking"))
    live.resume(Reply(replyId="r", content="all of it", nextIndex=1))
    assert (live.content, live.doing) == ("", "")


def test_the_rest_of_a_reply_whose_beginning_is_unknown_is_not_shown() -> None:
    """Half a sentence would mislead; the message comes anyway."""
    live = LiveReply()
    live.add(chunk(3, "the end"))
    assert live.content == ""


def test_what_the_assistant_does_is_told() -> None:
    """Thinking, using a tool by name, then nothing beside the text."""
    live = LiveReply()
    seen = []
    for step in (status("thinking"), status("tool_calling", tool="clock"), status("tool_completed")):
        live.status(step)
        seen.append(live.doing)
    live.add(chunk(0, "It is"))
    assert seen == ["is thinking …", "is using clock …", "is thinking …"]
    assert live.doing == ""
    live.status(status("failed"))
    assert live.content == ""


def test_who_types_is_known_for_a_while() -> None:
    """Until the message, a sign that it is over, or six seconds."""
    everyone = People((ANN, BEN), "ann")
    for user, name in (("ben", "Ben"), ("ann", "Ann")):
        everyone.typing({"userId": user, "name": name, "isTyping": True})
    assert everyone.typists() == ["Ben"]
    everyone.wrote("ben")
    assert everyone.typists() == []
    everyone.typing({"userId": "ben", "name": "Ben", "isTyping": True})
    everyone.typing({"userId": "ben", "name": "Ben", "isTyping": False})
    assert everyone.typists() == []


def test_a_sign_of_typing_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody types for ever."""
    everyone, now = People((ANN, BEN), "ann"), [100.0]
    monkeypatch.setattr(people, "monotonic", lambda: now[0])
    everyone.typing({"userId": "ben", "name": "Ben", "isTyping": True})
    now[0] += people.TYPING_SECONDS + 0.1
    assert everyone.typists() == []


def test_who_is_there_is_known() -> None:
    """From the join, and from who comes and goes."""
    everyone = People((ANN, BEN), "ann")
    everyone.online(["ann"])
    everyone.presence({"userId": "ben", "online": True})
    everyone.presence({"userId": "ann", "online": False})
    assert everyone.members == [("Ann", False), ("Ben", True)]


def test_news_about_members_is_told_once() -> None:
    """An event that repeats says nothing new."""
    everyone = People((ANN,), "ann")
    assert everyone.added(BEN) == "Ben was added."
    assert everyone.added(BEN) == ""
    assert everyone.removed("ben") == "Ben is no member any more."
    assert everyone.removed("ben") == ""
