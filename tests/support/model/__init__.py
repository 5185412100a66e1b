"""A model server that does as it is told."""

from support.model.acts import (
    Act,
    Breaks,
    CallsTool,
    EndsEarly,
    Hangs,
    Refuses,
    SaysNothing,
    SaysText,
    SendsRaw,
)
from support.model.server import ModelServer, model_server

__all__ = [
    "Act",
    "Breaks",
    "CallsTool",
    "EndsEarly",
    "Hangs",
    "ModelServer",
    "Refuses",
    "SaysNothing",
    "SaysText",
    "SendsRaw",
    "model_server",
]
