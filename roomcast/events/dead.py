"""Lists, shows, replays and drops dead letters."""

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack

from chat_api.outbox.event_replay import awaited
from roomcast.events.output import Output
from roomcast.events.sources import FailedError, Sources
from shared.bus.rabbit.dead_letters import DeadLetter, NotReplayableError, Taken, dead_letters
from shared.config.start_errors import SettingsError
from shared.events import REPLY_REQUESTED


async def list_letters(sources: Sources, out: Output, *, limit: int) -> None:
    """Prints the oldest letters."""
    found: list[DeadLetter] = []
    async with dead_letters(sources.rabbitmq_url.get_secret_value()) as letters:
        async for taken in letters:
            found.append(taken.letter)
            if len(found) > limit:
                break
    out.letters(found[:limit])
    if len(found) > limit:
        out.remark(f"There are more: --limit {limit * 2}")
    elif not found:
        out.remark("No dead letter.")


async def show_letter(sources: Sources, out: Output, letter_id: str) -> None:
    """Prints every letter with this id, with its body."""
    async with dead_letters(sources.rabbitmq_url.get_secret_value()) as letters:
        found = [taken.letter async for taken in letters if taken.letter.id == letter_id]
    if not found:
        raise FailedError(f"There is no dead letter {letter_id}.")
    for letter in found:
        out.letter(letter)


async def replay_letters(
    sources: Sources, out: Output, ids: Collection[str] | None, *, outdated: bool
) -> None:
    """Gives letters back to their queues; all that are there, when `ids` is None.

    Raises:
        FailedError: one of them is not there, or stays where it is.
    """
    async with AsyncExitStack() as stack:
        wanted = _Wanted(sources, stack)
        letters = await stack.enter_async_context(dead_letters(sources.rabbitmq_url.get_secret_value()))
        missing, kept = set(ids or ()), 0
        async for taken in _chosen(letters, ids):
            missing.discard(taken.letter.id)
            why = None if outdated else await wanted.why_not(taken.letter)
            try:
                if why is None:
                    await taken.replay()
            except NotReplayableError as error:
                why = str(error)
            kept += why is not None
            out.done(
                taken.letter.id,
                "given back to its queue" if why is None else f"kept: {why}",
                well=why is None,
            )
    _complain(out, missing, kept)


async def drop_letters(sources: Sources, out: Output, ids: Collection[str] | None, *, yes: bool) -> None:
    """Takes letters off for good; all that are there, when `ids` is None. `--json` prints each of them whole.

    Raises:
        FailedError: one of them is not there, or dropping all was not confirmed.
    """
    async with dead_letters(sources.rabbitmq_url.get_secret_value()) as letters:
        if ids is None and not yes:
            count = len([None async for _ in letters])
            raise FailedError(f"{count} dead letters would be dropped: say so with --yes. None was.")
        missing = set(ids or ())
        async for taken in _chosen(letters, ids):
            missing.discard(taken.letter.id)
            if out.as_json:
                out.letter(taken.letter)
            await taken.drop()
            if not out.as_json:
                out.done(taken.letter.id, "dropped", well=True)
    _complain(out, missing, 0)


async def _chosen(letters: AsyncIterator[Taken], ids: Collection[str] | None) -> AsyncIterator[Taken]:
    async for taken in letters:
        if ids is None or taken.letter.id in ids:
            yield taken


class _Wanted:
    """A look into the database: does somebody still wait for what a letter asks for?"""

    def __init__(self, sources: Sources, stack: AsyncExitStack) -> None:
        self._sources = sources
        self._stack = stack

    async def why_not(self, letter: DeadLetter) -> str | None:
        """Returns the reason not to give it back; None when it may."""
        if letter.type != REPLY_REQUESTED or letter.event is None:
            return None
        try:
            connection = await self._stack.enter_async_context(self._sources.database())
        except SettingsError:
            return "set DATABASE_URL to see whether anybody waits for this reply, or add --outdated"
        if letter.event.subject in await awaited(connection, [letter.event.subject]):
            return None
        return "nobody waits for this reply any more; it can be asked for anew in the chat (regenerate)"


def _complain(out: Output, missing: Collection[str], kept: int) -> None:
    for each in sorted(missing):
        out.done(each, "there is no such dead letter", well=False)
    if missing or kept:
        raise FailedError(f"{len(missing) + kept} left as they were.")
