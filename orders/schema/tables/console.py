"""The journal's tables of the console: who may come in, and who is in.

A password is kept as argon2id's own writing of it (RFC 9106), a session as the SHA-256 of its token, where a login
came from as the SHA-256 of account and address. An account is disabled, never deleted: its name is in `operations`.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text

from orders.schema.tables.common import NOW, Instant, metadata

accounts = Table(
    "accounts",
    metadata,
    Column("name", Text, primary_key=True, comment="as it stands in operations"),
    Column("role", Text, nullable=False),
    Column("password", Text, comment="argon2id; null for who comes by the identity provider alone"),
    Column("subject", Text, unique=True, comment="issuer and subject at the identity provider"),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    Column("changed_at", Instant, nullable=False, server_default=NOW, comment="of the password"),
    Column("disabled_at", Instant),
    CheckConstraint("role IN ('viewer', 'operator', 'approver')", name="role"),
    CheckConstraint("name = lower(name)", name="name"),
    comment="who may come in to the console, and what they may do there",
)

console_sessions = Table(
    "console_sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True, comment="SHA-256 of the token"),
    Column("account", Text, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=NOW),
    Column("seen_at", Instant, nullable=False, server_default=NOW),
    Column("expires_at", Instant, nullable=False, comment="at the latest"),
    Column("address", Text, comment="where its login came from"),
    Index("ix_console_sessions_account", "account"),
    comment="who is logged in at the console; rows come and go",
)

console_logins = Table(
    "console_logins",
    metadata,
    Column("key", LargeBinary, primary_key=True, comment="SHA-256 of an account, an address, or both"),
    Column("failures", Integer, nullable=False, comment="in a row, each forgotten after an hour without another"),
    Column("at", Instant, nullable=False, comment="of the last"),
    Column("until", Instant, nullable=False, comment="no password is looked at before"),
    Column("succeeded_at", Instant, comment="of account and address: the last login that did not fail"),
    comment="how often logins failed, and from where they did not; rows come and go",
)

console_secrets = Table(
    "console_secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("secret", LargeBinary, nullable=False, comment="random; all consoles of a journal share it"),
    Column("made_at", Instant, nullable=False, server_default=NOW),
    comment="what the consoles sign with, so that each knows another's writing again",
)
