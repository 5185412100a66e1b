"""Migrations, partitions and upkeep, on a real PostgreSQL."""

import asyncio
from difflib import unified_diff

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from support.database import Database
from support.servers import PostgresServer

from chat_api import migrations
from chat_api.database.connections import connect, driver_url, open_engine
from chat_api.database.partitions import LOCK, Maintenance
from chat_api.database.tables import metadata
from chat_api.replies.endings import complete, locked_reply
from shared.ids import new_id


async def test_an_empty_database_becomes_current_once_by_two_at_once(postgres: PostgresServer) -> None:
    url = await postgres.new_database()
    assert not await migrations.is_current(url)
    await asyncio.gather(migrations.upgrade(url), migrations.upgrade(url))
    assert await migrations.is_current(url)


async def test_a_newer_schema_counts_as_current(postgres: PostgresServer) -> None:
    """In a rolling upgrade the older program still runs on the newer schema."""
    url = await postgres.new_database()
    await migrations.upgrade(url)
    connection = await connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert await migrations.is_current(url)
    await connection.execute("UPDATE alembic_version SET version_num = '0000'")
    assert not await migrations.is_current(url)
    await connection.close()


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004"])
async def test_a_schema_from_before_the_first_version_is_left_as_it_is(
    postgres: PostgresServer, version: str
) -> None:
    """It is refused in a line that names what was found and what to do."""
    url = await postgres.new_database()
    connection = await connect(url)
    await connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    await connection.execute("INSERT INTO alembic_version VALUES ($1)", version)
    before = await postgres.dump_schema(url)
    assert not await migrations.is_current(url)
    with pytest.raises(migrations.SchemaTooOldError) as refused:
        await migrations.upgrade(url)
    assert f"at version {version}, which is too old" in str(refused.value)
    assert "bring it to 0005 with `roomcast migrate` of commit " in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert await postgres.dump_schema(url) == before
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == version
    await connection.close()


async def test_the_versions_make_the_schema(postgres: PostgresServer) -> None:
    """All of them, one after the other, make what `schema/` says; nothing more, less, or otherwise."""
    by_versions, by_files = await postgres.new_database(), await postgres.new_database()
    await migrations.upgrade(by_versions)
    connection = await connect(by_files)
    for path in sorted((migrations._FOLDER / "schema").glob("*.sql")):
        await connection.execute(path.read_text())
    await connection.close()
    made = await postgres.dump_schema(by_versions, "--exclude-table=alembic_version")
    meant = await postgres.dump_schema(by_files)
    assert "CREATE FUNCTION public.store_posts" in made
    differences = unified_diff(made.splitlines(), meant.splitlines(), "versions/", "schema/", lineterm="")
    assert "\n".join(differences) == ""


async def test_replies_of_the_first_version_take_their_turns_in_the_newest(postgres: PostgresServer) -> None:
    """Data of those who ran it comes along: what was being written, and what waited behind it, in order."""
    url = await postgres.new_database()
    engine = create_async_engine(driver_url(url))
    async with engine.begin() as first:
        await first.run_sync(migrations._upgrade, "0005")
    await engine.dispose()
    connection = await connect(url)
    async with open_engine(url) as engine:
        older = Database(url, engine, connection)
        user = await older.user()
        chat = await older.chat(user, assistant="always")
        ids = [new_id() for _ in range(3)]
        for reply, status, seq in zip(ids, ("requested", "queued", "queued"), (1, 9, 8), strict=True):
            await connection.execute(
                "INSERT INTO replies (id, chat_id, reply_to, reply_to_seq, status) "
                "VALUES ($1, $2, gen_random_uuid(), $4, $3)",
                reply,
                chat,
                status,
                seq,
            )
        await migrations.upgrade(url)
        assert await migrations.is_current(url)
        async with engine.begin() as transaction:
            first_one = await locked_reply(transaction, chat, ids[0])
            assert first_one is not None
            assert first_one.being_written
            assert not first_one.cancelling
            assert await complete(transaction, first_one, "an answer", None) == "finished"
    rows = await connection.fetch("SELECT id::text, status FROM replies")
    statuses = {row["id"]: row["status"] for row in rows}
    assert [statuses[each] for each in ids] == ["finished", "queued", "requested"]
    await connection.close()


def test_the_program_works_with_the_newest_version() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations._FOLDER))
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.HEAD


async def test_the_tables_are_those_that_the_program_describes(database: Database) -> None:
    """Every column of tables.py is there with its nullability, and no other."""
    rows = await database.connection.fetch(
        "SELECT table_name, column_name, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name = ANY ($1)",
        list(metadata.tables),
    )
    there = {(row["table_name"], row["column_name"], row["is_nullable"] == "YES") for row in rows}
    described = {
        (table.name, column.name, bool(column.nullable))
        for table in metadata.tables.values()
        for column in table.columns
    }
    assert there == described


async def test_upkeep_makes_partitions_ahead_and_removes_what_expired(database: Database) -> None:
    partitions = (
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'messages'::regclass ORDER BY c.relname"
    )
    before = [row["relname"] for row in await database.connection.fetch(partitions)]
    await database.connection.execute(f"DROP TABLE {before[-1]}")
    user = await database.user()
    await database.connection.execute(
        "INSERT INTO idempotency_keys VALUES ($1, 'old', '', gen_random_uuid(), now() - interval '25 hours'),"
        " ($1, 'new', '', gen_random_uuid(), now())",
        user,
    )
    await Maintenance(lambda: connect(database.url)).once()
    kept = await database.connection.fetch("SELECT key FROM idempotency_keys WHERE user_id = $1", user)
    assert [row["key"] for row in kept] == ["new"]
    assert [row["relname"] for row in await database.connection.fetch(partitions)] == before


async def test_upkeep_is_left_to_the_instance_that_is_at_it(database: Database) -> None:
    user = await database.user()
    await database.connection.execute(
        "INSERT INTO idempotency_keys VALUES ($1, 'old', '', gen_random_uuid(), now() - interval '25 hours')",
        user,
    )
    count = "SELECT count(*) FROM idempotency_keys WHERE user_id = $1"
    upkeep = Maintenance(lambda: connect(database.url))
    await database.connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    await upkeep.once()
    assert await database.connection.fetchval(count, user) == 1
    await database.connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
    await upkeep.once()
    assert await database.connection.fetchval(count, user) == 0


async def test_a_connection_that_died_in_the_pool_is_replaced(postgres: PostgresServer) -> None:
    """After a restart of PostgreSQL the first call that finds a dead connection is not the one that fails."""
    url = await postgres.new_database()
    gone = asyncio.Event()
    async with open_engine(url) as engine:
        async with engine.connect() as connection:
            first = await connection.scalar(text("SELECT pg_backend_pid()"))
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            driver.add_termination_listener(lambda _: gone.set())
        other = await connect(url)
        await other.execute("SELECT pg_terminate_backend($1)", first)
        await other.close()
        await asyncio.wait_for(gone.wait(), 5)
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT pg_backend_pid()")) != first
