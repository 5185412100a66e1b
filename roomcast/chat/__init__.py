"""`roomcast chat`: a terminal client that uses nothing but the public contract."""

from roomcast.chat.run import run_chat

__all__ = ["run_chat"]
