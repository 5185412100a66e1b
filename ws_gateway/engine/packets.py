"""Socket.IO packets: those of clients decoded and checked, those of the server encoded."""

from typing import Any, Final

import orjson
from socketio import packet as sio

from ws_gateway.transport.connection import Connection
from ws_gateway.transport.frames import Frame

MAX_ATTACHMENTS: Final = 10
DISCONNECT: Final = Frame(str(sio.DISCONNECT))

_EVENTS: Final = frozenset({sio.EVENT, sio.BINARY_EVENT})
_BINARY: Final = frozenset({sio.BINARY_EVENT, sio.BINARY_ACK})
_FROM_CLIENTS: Final = _EVENTS | _BINARY | {sio.CONNECT, sio.DISCONNECT, sio.ACK}
_DECODING_ERRORS: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What python-socketio's decoder raises, and what is raised here."""


class BadPacketError(ValueError):
    """A message of a client that is no Socket.IO packet which it may send."""


def decode(connection: Connection, data: str | bytes) -> Any:
    """Returns the packet that is complete with a message, or None when attachments are to come.

    The connection keeps the packet whose attachments are to come.

    Raises:
        BadPacketError: it is no packet that the client may send now.
    """
    try:
        return _decoded(connection, data)
    except _DECODING_ERRORS as error:
        raise BadPacketError(str(error)[:200]) from error


def _decoded(connection: Connection, data: str | bytes) -> Any:
    packet, connection.attachments_due = connection.attachments_due, None
    if packet is not None:
        if not isinstance(data, bytes):
            raise BadPacketError("text where an attachment was announced")
        packet.add_attachment(data)
    elif isinstance(data, str) and data:
        packet = sio.Packet(encoded_packet=data)
    else:
        raise BadPacketError("no packet, or binary data without a packet that announced it")
    if packet.packet_type not in _FROM_CLIENTS:
        raise BadPacketError("a packet that only servers send")
    if packet.packet_type in _BINARY:
        if not 0 < packet.attachment_count <= MAX_ATTACHMENTS:
            raise BadPacketError("no attachments, or too many")
        if not connection.connected:
            raise BadPacketError("a binary packet before a socket")
        if len(packet.attachments) < packet.attachment_count:
            connection.attachments_due = packet
            return None
    if packet.packet_type in _EVENTS and not (isinstance(packet.data, list) and packet.data):
        raise BadPacketError("an event without a name")
    return packet


def connect_frame(sid: str) -> Frame:
    """Returns the CONNECT that tells a client its socket's id."""
    return Frame(f"{sio.CONNECT}{orjson.dumps({'sid': sid}).decode()}")


def connect_error_frame(code: str, message: str, *, namespace: str | None = None) -> Frame:
    """Returns the CONNECT_ERROR that refuses a client its socket."""
    problem = {"message": message, "data": {"code": code}}
    return Frame(sio.Packet(sio.CONNECT_ERROR, problem, namespace=namespace).encode())
