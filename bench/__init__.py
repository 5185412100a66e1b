"""Roomcast beside a stock python-socketio gateway and a Node gateway, on the same events, in one run.

`python -m bench` runs it; docs/performance.md tells what is measured, how, and what came out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # private servers, as the tests use them
