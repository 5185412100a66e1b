"""Socket.IO clients for the tests: the official one in Node and python-socketio, behind one interface."""

from support.clients.interface import Ack, Received, RefusedError, SocketClient
from support.clients.node import NodeClient, NodeDriver
from support.clients.python import PythonClient

__all__ = ["Ack", "NodeClient", "NodeDriver", "PythonClient", "Received", "RefusedError", "SocketClient"]
