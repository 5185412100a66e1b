"""`python -m ai_worker`: the worker as a process of its own."""

from ai_worker.app import serve
from ai_worker.settings import WorkerSettings
from shared.process.service import run_service


def main() -> int:
    """Runs the worker; gives the exit status."""
    return run_service("worker", WorkerSettings, serve)


if __name__ == "__main__":
    raise SystemExit(main())
