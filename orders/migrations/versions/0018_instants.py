"""A reconciliation begins and ends at a time that is one.

What was asked for since the year 1 was written as minus infinity, which no program reads as a time. It becomes the
first year that is taken now. Few rows, one for each reconciliation. And no account's name differs from another's by its
letters' size alone.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

STATEMENTS = [
    *(
        f"UPDATE reconciliations SET {name} = '1900-01-01 00:00:00+00' WHERE NOT isfinite({name})"
        for name in ("since", "until", "cursor_at")
    ),
    "ALTER TABLE reconciliations ADD CONSTRAINT ck_reconciliations_times "
    "CHECK (isfinite(since) AND isfinite(until) AND isfinite(cursor_at))",
    "ALTER TABLE accounts ADD CONSTRAINT ck_accounts_name CHECK (name = lower(name))",
]


def upgrade() -> None:
    """Mend, then forbid."""
    for statement in STATEMENTS:
        op.execute(statement)
