"""Events of one delivery of the bus are sent as if they had come one by one."""

import random
from typing import Any

import orjson

from shared.events import (
    CHAT_DELETED,
    MESSAGE_CREATED,
    PRESENCE,
    REPLY_CHUNK,
    TYPING,
    Event,
    chat_room,
    user_room,
)
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.relay import Relay
from ws_gateway.rooms.rooms import Rooms
from ws_gateway.rooms.subscriptions import JoinBuffer, Socket, Subscription
from ws_gateway.transport.connection import Connection
from ws_gateway.transport.frames import Burst, Frame

Got = list[list[str]]


class Recorder(Connection):
    """Notes the packets that it is sent."""

    def __init__(self, name: str) -> None:
        super().__init__(name, origin=None, address="")
        self.got: list[str] = []
        self.droppable = 0
        self.writes = 0

    def send(self, frame: Frame) -> None:
        self.got.append(frame.text)
        self.droppable += frame.droppable
        self.writes += 1

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Joining(Recorder):
    """Takes bursts in one step."""

    def send_burst(self, burst: Burst) -> None:
        self.got += [frame.text for frame in burst.frames]
        self.writes += 1


class Nothing:
    """Sessions, and memberships, that nothing is done to but noted."""

    def __init__(self) -> None:
        self.evicted: list[Any] = []

    def end(self, session_id: str) -> None: ...

    def evict(self, *who: Any) -> None:
        self.evicted.append(who)


def chat(number: int) -> str:
    return f"chat-{number}"


def scene(kind: type[Recorder], nothing: Nothing | None = None) -> tuple[Relay, Rooms, list[Recorder]]:
    """Six sockets of three users: each in its user's room and in two of three chats."""
    rooms, connections = Rooms(), [kind(str(number)) for number in range(6)]
    for number, connection in enumerate(connections):
        user = f"user-{number % 3}"
        socket = Socket(connection.sid, connection, user, user, user, "", 0)
        for room in (user_room(user), chat_room(chat(number % 3)), chat_room(chat((number + 1) % 3))):
            rooms.enter(Subscription(socket, room, None))
    noted: Any = nothing or Nothing()
    relay = Relay(
        instance="here", fanout=Fanout(rooms), membership=noted, sessions=noted, missed=lambda: None
    )
    return relay, rooms, connections


def an_event(seq: int, number: int, *, kind: str = MESSAGE_CREATED, users: tuple[str, ...] = ()) -> Event:
    body = orjson.dumps({"seq": seq, "text": "é" * 300})
    return Event(
        type=kind,
        name=kind,
        body=body,
        subject=chat(number),
        rooms=(chat_room(chat(number)),),
        seq=seq,
        users=users,
    )


def spoken(chance: random.Random) -> list[Event]:
    """Events in which runs of one room are frequent."""
    found: list[Event] = []
    while len(found) < 400:
        number, kind = chance.randrange(3), chance.choice([MESSAGE_CREATED, REPLY_CHUNK, TYPING, PRESENCE])
        found += [an_event(len(found), number, kind=kind) for _ in range(chance.choice([1, 1, 2, 7]))]
    return found


def test_a_delivery_of_many_events_reads_as_one_by_one() -> None:
    """Every socket gets the same packets in the same order, over connections of both kinds."""
    events = spoken(random.Random(7))
    alone, _, expected = scene(Recorder)
    for event in events:
        alone.relay([event])
    one_by_one = [socket.got for socket in expected]
    polled, _, polling = scene(Recorder)
    polled.relay(events)
    assert [socket.got for socket in polling] == one_by_one
    together, _, sockets = scene(Joining)
    together.relay(events)
    assert [socket.got for socket in sockets] == one_by_one
    assert sum(socket.writes for socket in sockets) < sum(map(len, one_by_one))


def test_a_message_that_is_not_text_takes_none_along() -> None:
    """The others of its run arrive."""
    events = [an_event(1, 0), Event(MESSAGE_CREATED, b"\xff", name="new-msg", rooms=(chat_room(chat(0)),))]
    relay, _, sockets = scene(Joining)
    relay.relay([*events, an_event(3, 0)])
    assert [orjson.loads(text[1:])[1]["seq"] for text in sockets[0].got] == [1, 3]


def test_a_joining_socket_keeps_each_message_of_a_run_by_its_number() -> None:
    """Messages up to the acknowledged number are left out of a run, the rest is not."""
    relay, rooms, sockets = scene(Joining)
    joining = next(iter(rooms.of(chat_room(chat(0))).values()))
    joining.buffer = JoinBuffer(100)
    relay.relay([an_event(seq, 0) for seq in range(1, 6)])
    assert sockets[0].got == []
    kept = [orjson.loads(frame.text[1:])[1]["seq"] for frame in joining.buffer.above(3)]
    assert kept == [4, 5]


def test_members_hear_of_every_message_of_a_run_once() -> None:
    """`chat-activity` comes for each, to each of the members' sockets."""
    relay, _, sockets = scene(Joining)
    relay.relay([an_event(seq, 0, users=("user-1", "user-1")) for seq in range(1, 4)])
    heard = [orjson.loads(text[1:]) for text in sockets[1].got]
    assert [said["lastSeq"] for name, said in heard if name == "chat-activity"] == [1, 2, 3]
    assert not any(said[0] == "chat-activity" for said in (orjson.loads(text[1:]) for text in sockets[0].got))


def test_typing_in_a_row_spares_who_types_and_may_be_left_out() -> None:
    rooms = (chat_room(chat(0)),)
    relay, _, sockets = scene(Joining)
    relay.relay([Event(TYPING, b"{}", name="typing", rooms=rooms, subject="here/0") for _ in range(2)])
    assert [(len(socket.got), socket.droppable) for socket in sockets[:3]] == [(0, 0), (0, 0), (2, 2)]


def test_deletions_in_a_row_each_close_their_room() -> None:
    members = tuple(user_room(f"user-{number}") for number in range(3))
    deleted = [
        Event(CHAT_DELETED, b"{}", name="chat-deleted", rooms=members, subject=chat(number))
        for number in range(2)
    ]
    noted = Nothing()
    relay, _, sockets = scene(Joining, noted)
    relay.relay(deleted)
    assert noted.evicted == [(chat(0),), (chat(1),)]
    assert [len(socket.got) for socket in sockets] == [2] * 6
