"""SQLAlchemy's asyncio without sessions, which take the whole ORM along: 0.06 s and 6 MiB of every process."""

from config.alone import import_without

SESSIONS = ("sqlalchemy.ext.asyncio.scoping", "sqlalchemy.ext.asyncio.session")

import_without(SESSIONS, "sqlalchemy.ext.asyncio")
