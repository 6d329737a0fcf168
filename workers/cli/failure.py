"""Errors as an operator meets them: one sentence on stderr and an exit code, never a traceback.

Foreign errors are translated here and nowhere else. What nobody foresaw is called an internal fault, and shows
where it came from when RELAIS_LOG_LEVEL is DEBUG.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from config.errors import first_line, plain, said

GOOD, BAD, UNABLE, INTERRUPTED = 0, 1, 2, 130


class CommandFailed(Exception):
    """The command ends here: what to say, and with which exit code."""

    def __init__(self, message: str, code: int = UNABLE) -> None:
        super().__init__(message)
        self.code = code


def explain(error: Exception) -> tuple[str, int]:
    """The sentence and the exit code for whatever a command raised."""
    from pydantic import ValidationError

    from config.settings import MissingSetting
    from config.settings.routes_file import BadBackends
    from config.settings.sources import UnusableFile
    from orders.errors import JournalDown, Malformed, RelaisError
    from orders.rules.catalogue import BadList, NoList
    from workers.erp.connectors import BadConnector

    if isinstance(error, CommandFailed):
        return str(error), error.code
    if isinstance(error, ValidationError):
        return _wrong_settings(error), UNABLE
    if isinstance(error, RelaisError):
        return str(error), UNABLE if isinstance(error, JournalDown | BadList | NoList | Malformed) else BAD
    if isinstance(error, MissingSetting | UnusableFile):
        return str(error), UNABLE
    if isinstance(error, BadBackends):
        return f"backends: {error}", UNABLE
    if isinstance(error, BadConnector):
        return f"connector: {error}", UNABLE
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", UNABLE
    return _internal(error), UNABLE


@contextmanager
def listening_on(host: str, port: int, besides: str = "") -> Iterator[None]:
    """Inside, an OSError becomes a Failure that says which address cannot be had."""
    try:
        yield
    except OSError as error:
        raise CommandFailed(f"cannot listen on {host}:{port}{besides}: {why_not(error, port)}") from None


def why_not(error: OSError, port: int) -> str:
    """Why nothing can listen on a port; who has it, where somebody has."""
    if error.errno != errno.EADDRINUSE:
        return error.strerror or str(error)
    from config.embedded.ports import holder

    return f"it is taken by {holder(port)}"


@contextmanager
def journal_at(url: str) -> Iterator[None]:
    """Inside, what PostgreSQL and its driver raise becomes a Failure that says which journal (not its password)."""
    from asyncpg import InterfaceError, PostgresError, UndefinedTableError
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    from orders.journal import unreachable

    try:
        yield
    except ArgumentError:
        raise CommandFailed(
            "RELAIS_DATABASE_URL is not a URL such as postgresql://user:password@host/database"
        ) from None
    except (SQLAlchemyError, PostgresError, InterfaceError, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            raise  # a file's, not the journal's
        place = f"the journal at {_place(url)}"
        if unreachable(error):
            raise CommandFailed(f"{place} is out of reach: {first_line(error)}") from error
        if isinstance(said(error), UndefinedTableError):
            raise CommandFailed(f"{place} has no tables yet: run `relais admin migrate`") from error
        raise CommandFailed(f"{place} refused: {first_line(error)}") from error


def _wrong_settings(error: object) -> str:
    """Pydantic's findings, each under the name of the variable that is wrong, without the value (a secret?)."""
    from pydantic import ValidationError

    assert isinstance(error, ValidationError)
    found = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        variable = f"RELAIS_{str(detail['loc'][-1]).upper()}: " if detail["loc"] else ""
        found.append(variable + plain(detail["msg"]))
    return "settings: " + "; ".join(found)


def _internal(error: Exception) -> str:
    sentence = f"internal fault: {first_line(error)}"
    if os.environ.get("RELAIS_LOG_LEVEL") == "DEBUG":
        return "".join(traceback.format_exception(error)) + sentence
    return f"{sentence} (RELAIS_LOG_LEVEL=DEBUG shows where)"


def _place(url: str) -> str:
    from sqlalchemy import make_url

    from orders.journal.hosts import hosts_of, listener_dsn

    address = make_url(listener_dsn(url))
    hosts = hosts_of(url) or [(address.host or "localhost", address.port or 5432)]
    return f"{','.join(f'{host}:{port}' for host, port in hosts)}/{address.database or ''}"
