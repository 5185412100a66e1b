"""The checker finds what is wrong with a history, and nothing in a good one."""

from collections.abc import Callable
from typing import Any

import pytest
from chaos.history import History
from chaos.witness import Kind, Message, Witness

CHAT = "chat"


def message(seq: int, content: str = "", *, role: str = "USER", **fields: Any) -> dict[str, Any]:
    """A stored message; its id and content follow from its number."""
    return {
        "id": f"id-{seq}",
        "chatId": CHAT,
        "seq": seq,
        "role": role,
        "userId": "ann" if role == "USER" else None,
        "content": content or f"text {seq}",
        "time": "2026-01-01T00:00:00.000Z",
        "replyTo": None,
        **fields,
    }


def ack(*missed: Message, last: int, more: bool = False) -> dict[str, Any]:
    """The acknowledgement of a join."""
    return {"ok": True, "missed": list(missed), "lastSeq": last, "hasMore": more}


def posted(history: History, seq: int, *, asks: bool = False) -> dict[str, Any]:
    """A post that was answered; the message."""
    made = message(seq)
    history.posting(f"key-{seq}", CHAT, made["content"], asks=asks)
    history.answered(f"key-{seq}", made)
    return made


def listening(history: History, *missed: Message, last: int = 0) -> Witness:
    """A connected witness in the room."""
    witness = history.witness("ann", CHAT)
    witness.connection(up=True)
    witness.joined(0, ack(*missed, last=last), asked_at=witness.signals)
    return witness


def kinds(history: History, stored: list[dict[str, Any]]) -> set[Kind]:
    """Judges a history, and returns the kinds of violation found."""
    return {violation.kind for violation in history.judge(stored)}


def test_a_good_history_has_nothing_wrong() -> None:
    """Live, missed, repeated within a join, after a signal: all as promised."""
    history = History()
    stored = [posted(history, seq) for seq in range(1, 8)]
    witness = listening(history, *stored[:2], last=2)
    witness.live(stored[2])
    witness.live(stored[2])
    witness.signalled()
    witness.live(stored[5])
    asked = witness.signals
    witness.joined(3, ack(*stored[3:5], last=6, more=True), asked_at=asked)
    witness.joined(5, ack(stored[5], last=6), asked_at=asked)
    witness.live(stored[6])
    assert history.judge(stored) == []
    assert (witness.seen, witness.repeats) == (7, 2)


def test_a_lost_message_is_found() -> None:
    """Answered 201, stored, and not heard by a member who is connected at the end."""
    history = History()
    stored = [posted(history, seq) for seq in (1, 2)]
    listening(history).live(stored[0])
    assert kinds(history, stored) == {Kind.LOST}


def test_a_member_who_is_away_at_the_end_may_lack_some() -> None:
    """Only those connected at the end have to have all."""
    history = History()
    stored = [posted(history, 1)]
    listening(history).connection(up=False)
    assert history.judge(stored) == []


def test_an_answered_message_that_is_not_stored_is_found() -> None:
    """A 201 without a row."""
    history = History()
    first, _ = posted(history, 1), posted(history, 2)
    assert kinds(history, [first]) == {Kind.LOST}


def test_a_hole_in_the_numbers_is_found() -> None:
    """`seq` counts without holes."""
    history = History()
    assert kinds(history, [posted(history, 1), posted(history, 3)]) == {Kind.LOST}


def test_a_message_stored_twice_is_found() -> None:
    """One post, two messages."""
    history = History()
    first = posted(history, 1)
    assert kinds(history, [first, message(2, first["content"])]) == {Kind.REPEATED}


def test_a_key_with_two_answers_is_found() -> None:
    """The repeat of a post is answered with another message."""
    history = History()
    first = posted(history, 1)
    history.answered("key-1", {**first, "id": "other", "seq": 2})
    assert Kind.REPEATED in kinds(history, [first])


def test_two_messages_with_one_number_are_found() -> None:
    """The same `seq` under another id."""
    history = History()
    first = posted(history, 1)
    witness = listening(history, first, last=1)
    witness.live({**first, "id": "other"})
    assert kinds(history, [first]) == {Kind.REPEATED}


def test_swapped_messages_are_found() -> None:
    """Two frames in the wrong order, even where a gap was signalled."""
    history = History()
    stored = [posted(history, seq) for seq in (1, 2, 3)]
    witness = listening(history, stored[0], last=1)
    witness.signalled()
    witness.live(stored[2])
    witness.live(stored[1])
    assert kinds(history, stored) == {Kind.OUT_OF_ORDER}


def test_a_gap_without_a_signal_is_found() -> None:
    """A later message, though the one before it comes by a join afterwards."""
    history = History()
    stored = [posted(history, seq) for seq in (1, 2, 3)]
    witness = listening(history, stored[0], last=1)
    witness.live(stored[2])
    witness.joined(1, ack(*stored[1:], last=3), asked_at=witness.signals)
    assert kinds(history, stored) == {Kind.GAP}


def test_a_gap_signalled_while_joining_stays_signalled() -> None:
    """A join that was asked before the signal does not settle it."""
    history = History()
    stored = [posted(history, seq) for seq in (1, 2, 3)]
    witness = listening(history)
    asked = witness.signals
    witness.signalled()
    witness.joined(0, ack(stored[0], last=1), asked_at=asked)
    witness.live(stored[2])
    witness.joined(1, ack(*stored[1:], last=3), asked_at=witness.signals)
    assert history.judge(stored) == []


def test_a_hole_in_what_was_missed_is_found() -> None:
    """`missed` skips one, or ends before `lastSeq`."""
    history = History()
    stored = [posted(history, seq) for seq in (1, 2, 3)]
    listening(history, stored[0], stored[2], last=3)
    assert Kind.LOST in kinds(history, stored)
    history = History()
    listening(history, stored[0], last=3)
    assert history.counts() == {Kind.LOST: 1}


@pytest.mark.parametrize(
    "changed", [{"id": "id-9"}, {"content": "not what was posted"}, {"seq": 2}, {"chatId": "another"}]
)
def test_an_invented_message_is_found(changed: dict[str, Any]) -> None:
    """Something was heard that is not stored so."""
    history = History()
    first = posted(history, 1)
    witness = listening(history)
    witness.live({**first, **changed})
    witness.joined(0, ack(first, last=1), asked_at=witness.signals)
    assert kinds(history, [first]) & {Kind.INVENTED, Kind.REPEATED}


def test_a_stored_message_that_nobody_posted_is_found() -> None:
    """The database has more than was posted."""
    history = History()
    assert kinds(history, [message(1)]) == {Kind.INVENTED}


def _none(_: Message) -> list[dict[str, Any]]:
    return []


def _two(request: Message) -> list[dict[str, Any]]:
    content = f"You wrote: {request['content']}"
    return [message(seq, content, role="AI", replyTo=request["id"]) for seq in (2, 3)]


def _both(request: Message) -> list[dict[str, Any]]:
    reply, failure = _two(request)
    return [reply, {**failure, "role": "SYSTEM"}]


def _another(request: Message) -> list[dict[str, Any]]:
    return [{**_two(request)[0], "content": "something else"}]


def _unasked(request: Message) -> list[dict[str, Any]]:
    reply, stray = _two(request)
    return [reply, {**stray, "replyTo": "id-0"}]


@pytest.mark.parametrize("answers", [_none, _two, _both, _another, _unasked])
def test_a_request_that_does_not_end_once_is_found(
    answers: Callable[[Message], list[dict[str, Any]]],
) -> None:
    """No reply, two, a reply and a failure, one to something else, one that nobody asked for."""
    history = History()
    request = posted(history, 1, asks=True)
    assert kinds(history, [request, *answers(request)]) == {Kind.REPLY}


@pytest.mark.parametrize("told", ["begun", "by its number alone"])
def test_chunks_of_a_second_attempt_replace_those_of_the_first(told: str) -> None:
    """Those that are left of the first are passed over; what is whole has to be the reply."""
    history = History()
    request = posted(history, 1, asks=True)
    witness = listening(history, request, last=1)
    reply = _two(request)[0]
    half = len(reply["content"]) // 2

    def begin(**attempt: int) -> None:
        witness.writing("ai-status", {"replyId": reply["id"], "status": "thinking", **attempt})

    def chunk(index: int, content: str, **attempt: int) -> None:
        said = {"replyId": reply["id"], "index": index, "content": content, "isFinal": index == 1}
        witness.writing("ai-chunk", said | attempt)

    begin()
    chunk(0, "something")
    if told == "begun":
        begin(attempt=2)
    chunk(0, reply["content"][:half], attempt=2)
    chunk(1, "of the first")
    chunk(1, reply["content"][half:], attempt=2)
    witness.live(reply)
    assert history.judge([request, reply]) == []
    assert (witness.previews, witness.replaced) == (1, 1)


def test_chunks_that_are_not_the_reply_are_found() -> None:
    """The preview was whole and said something else."""
    history = History()
    request = posted(history, 1, asks=True)
    witness = listening(history, request, last=1)
    reply = _two(request)[0]
    witness.writing("ai-status", {"replyId": reply["id"], "status": "thinking"})
    chunk = {"replyId": reply["id"], "index": 0, "content": "something", "isFinal": True}
    witness.writing("ai-chunk", chunk)
    witness.live(reply)
    assert kinds(history, [request, reply]) == {Kind.REPLY}


def test_one_reply_or_one_failure_is_as_it_should_be() -> None:
    """Each ends a request."""
    for role in ("AI", "SYSTEM"):
        history = History()
        request = posted(history, 1, asks=True)
        reply = {**_two(request)[0], "role": role}
        assert history.judge([request, reply]) == []
