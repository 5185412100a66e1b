"""Outages are put down to the fault that they met."""

from chaos.history import History
from chaos.outages import Window, outages


def test_waits_and_recoveries_are_those_of_their_fault() -> None:
    """A post that waited through the first fault, one after it, and one that met the second."""
    # Posted, answered, heard; of three messages.
    moments = iter([10.0, 14.0, 14.5, 20.0, 20.1, 20.2, 30.0, 31.0, 37.0])
    history = History(clock=lambda: next(moments))
    witness = history.witness("ann", "chat")
    for seq in (1, 2, 3):
        message = {"id": f"id-{seq}", "chatId": "chat", "seq": seq, "role": "USER", "content": f"{seq}"}
        history.posting(f"{seq}", "chat", f"{seq}")
        history.answered(f"{seq}", message)
        witness.live(message)
    windows = [Window("database away", 9.0, 13.0), Window("broker away", 30.5, 35.0)]
    found = outages(windows, list(history.posts.values()), [witness])
    database, broker = found["database away"], found["broker away"]
    assert (database.lasted, database.post, database.delivery) == (4.0, 4.0, 0.5)
    assert (broker.lasted, broker.post, broker.delivery) == (4.5, 1.0, 6.0)
    assert round(database.posting, 3) == 7.1
    assert round(database.hearing, 3) == 7.2
