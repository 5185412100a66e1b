"""Clients' Socket.IO packets are checked before anything acts on them."""

import pytest
from socketio import packet as sio

from ws_gateway.engine import packets
from ws_gateway.engine.packets import MAX_ATTACHMENTS, BadPacketError, decode
from ws_gateway.transport.connection import Connection
from ws_gateway.transport.frames import Frame


class Held(Connection):
    """A connection with a socket."""

    def __init__(self) -> None:
        super().__init__("sid", origin=None, address="")
        self.connected = True

    def send(self, frame: Frame) -> None:
        raise AssertionError(frame)

    def close(self) -> None:
        raise AssertionError

    def abort(self) -> None:
        raise AssertionError


def test_an_event_has_a_name_arguments_and_a_number() -> None:
    """The number is what its acknowledgement names."""
    packet = decode(Held(), '27["typing",{"on":true}]')
    assert (packet.packet_type, packet.id, packet.data) == (sio.EVENT, 7, ["typing", {"on": True}])


def test_attachments_complete_the_packet_that_announced_them() -> None:
    """Until then the connection keeps it."""
    connection = Held()
    announced = '52-["two",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    assert decode(connection, announced) is None
    assert decode(connection, b"one") is None
    packet = decode(connection, b"other")
    assert packet.data == ["two", b"one", b"other"]
    assert connection.attachments_due is None


@pytest.mark.parametrize(
    "data",
    [
        "",
        "nonsense",
        b"binary that nobody announced",
        '4{"message":"a packet of servers"}',
        "2[]",
        '2{"no":"list"}',
        '2["broken',
        "2" + "[" * 100_000,
        '50-["no attachment"]',
        f'5{MAX_ATTACHMENTS + 1}-["too many"]',
    ],
)
def test_what_makes_no_sense_is_a_bad_packet(data: str | bytes) -> None:
    """The decoder's reason, no matter which, fits into a line of the log."""
    with pytest.raises(BadPacketError) as refused:
        decode(Held(), data)
    assert len(str(refused.value)) <= 200


def test_text_where_an_attachment_is_due_is_a_bad_packet() -> None:
    """Messages of a connection arrive in order."""
    connection = Held()
    assert decode(connection, '51-["one",{"_placeholder":true,"num":0}]') is None
    with pytest.raises(BadPacketError):
        decode(connection, '2["event"]')


def test_a_binary_packet_needs_a_socket() -> None:
    """The attachments that it announces would be kept for nobody."""
    connection = Held()
    connection.connected = False
    with pytest.raises(BadPacketError):
        decode(connection, '51-["one",{"_placeholder":true,"num":0}]')


def test_the_servers_packets_are_those_of_the_protocol() -> None:
    """Socket.IO 5."""
    assert packets.connect_frame("abc").text == '0{"sid":"abc"}'
    assert packets.DISCONNECT.text == "1"
    refused = packets.connect_error_frame("token_expired", "Expired.")
    assert refused.text == '4{"message":"Expired.","data":{"code":"token_expired"}}'
    elsewhere = packets.connect_error_frame("invalid_namespace", "No.", namespace="/admin")
    assert elsewhere.text.startswith("4/admin,{")
