"""PostgreSQL databases with our tables, lent to one test after the other: emptying one is quicker than making one."""

from __future__ import annotations

from typing import Any

import psycopg
from postgres import PostgresServer
from psycopg import sql

# Whatever a test could change beside rows; a database that is not as it was is not lent again.
SHAPE = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
    SELECT concat_ws(' ', c.relname, c.relkind, c.reloptions::text, a.attname, a.atttypid, a.attnotnull) AS line
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', tgrelid::regclass, tgname, tgenabled::text) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT setconfig::text FROM pg_db_role_setting
    UNION ALL SELECT concat_ws(' ', nspname, nspacl::text) FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
) AS all_lines
"""
OTHERS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"


class LentDatabases:
    """The databases of one server that are copies of `template`, one of its databases."""

    def __init__(self, server: PostgresServer, template: str) -> None:
        self._server, self._template = server, template
        self._idle: list[str] = []
        with psycopg.connect(server.url(template), autocommit=True) as connection:
            self._shape = _shape(connection)
            self._tables = sorted(_names(connection, "r"))
            self._sequences = {
                name: connection.execute(
                    sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(name))
                ).fetchone()
                for name in _names(connection, "S")
            }
            rows = {table: _copy_out(connection, table) for table in self._tables}
            self._rows = {table: text for table, text in rows.items() if text}

    def lend(self) -> str:
        """Return the name of a database that is as its template is; nobody else has it until it is given back."""
        return self._idle.pop() if self._idle else self._server.database(self._template)

    def take_back(self, name: str) -> None:
        """Empty a database for the next one, or drop it when more than its rows was changed."""
        try:
            with psycopg.connect(self._server.url(name), autocommit=True) as connection:
                connection.execute(OTHERS, [connection.info.backend_pid])
                as_it_was = _shape(connection) == self._shape
                if as_it_was:
                    with connection.transaction():
                        self._reset(connection)
        except psycopg.Error:
            as_it_was = False
        if as_it_was:
            self._idle.append(name)
        else:
            self._server.drop(name)

    def _reset(self, connection: psycopg.Connection[Any]) -> None:
        filled = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} WHERE EXISTS (SELECT 1 FROM {})").format(sql.Literal(t), sql.Identifier(t))
            for t in self._tables
        )
        used = [row[0] for row in connection.execute(filled)]
        if used:
            names = sql.SQL(", ").join(map(sql.Identifier, used))
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))
        connection.execute("SET LOCAL session_replication_role = replica")  # rows come back in any order
        for table, text in self._rows.items():
            there = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
            with connection.cursor() as cursor, cursor.copy(there) as copy:
                copy.write(text)
        for name, (last, called) in self._sequences.items():
            connection.execute("SELECT setval(%s, %s, %s)", [name, last, called])


def _shape(connection: psycopg.Connection[Any]) -> str:
    return str(connection.execute(SHAPE).fetchone())


def _names(connection: psycopg.Connection[Any], kind: str) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = %s"
    return [row[0] for row in connection.execute(query, [kind])]


def _copy_out(connection: psycopg.Connection[Any], table: str) -> bytes:
    with connection.cursor() as cursor, cursor.copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))) as copy:
        return b"".join(copy)
