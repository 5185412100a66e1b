"""Runs the worker as a process of its own: `python -m ai_worker`."""

from ai_worker.app import serve
from ai_worker.settings import WorkerSettings
from shared.process.service import run_service


def main() -> int:
    """Runs the worker; returns the exit status."""
    return run_service("worker", WorkerSettings, serve)


if __name__ == "__main__":
    raise SystemExit(main())
