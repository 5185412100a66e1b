"""Socket.IO clients for the tests: the official one in Node and python-socketio, behind one interface."""

from clients.interface import Ack, Received, RefusedError, SocketClient
from clients.node import NodeClient, NodeDriver
from clients.python import PythonClient

__all__ = ["Ack", "NodeClient", "NodeDriver", "PythonClient", "Received", "RefusedError", "SocketClient"]
