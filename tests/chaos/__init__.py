"""Load, faults and a checker of histories: whatever dies, nothing that was acknowledged is lost.

`witness.py` and `history.py` judge, `proxy.py` and `faults.py` do harm, `posters.py` and `listeners.py` are
the clients, `cluster.py` is what they all work on; `run.py` puts them together, and `python -m chaos` runs
it long.
"""
