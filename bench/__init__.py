"""Measures Roomcast beside a stock python-socketio gateway and a Node gateway, on the same events.

`python -m bench` runs it; docs/performance.md says what is measured, how, and what came out.

The order of things: `environment` starts private servers; each of the `rows` sets up `contenders` with
clients (a `rig`), feeds them by the processes and publishers of `load`, and adds values to the book;
`report` writes tables, JSON and a picture, and compares with the targets. `meter` reads CPU time and memory
from the kernel.

What must stay true:

- All contenders get the same events at the same moments, with the same settings, on the same servers.
- Load clients cost as little as can be, and their CPU is told apart from the gateway's.
- A count that is wrong fails the run: no frame too few, none too many.
- Nothing is left behind: servers, processes and folders end with the run.

It tests no behaviour: the tests do.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # private servers, as the tests use them
