"""What is told to people becomes a code with parameters.

What was kept as a text goes on as a text that is quoted; where an ERP's words may be in it, as the parameter `detail`,
which the console masks.
"""

from alembic import op

revision = "0017"
down_revision = "0016"

TEXT = "jsonb_build_object('code', 'text', 'text', {0})"
MET = "jsonb_build_object('code', 'met', 'detail', {0})"
OF_CIRCUIT = f"""CASE why WHEN 'released from quarantine' THEN jsonb_build_object('code', 'released')
  ELSE {MET.format("why")} END"""
OF_HOLD = (
    """CASE WHEN quarantined_by = 'relais' AND held_why ~ '^\\w+, order [0-9a-f-]{36}: '
  THEN jsonb_build_object('code', 'proved', 'evidence', split_part(held_why, ', ', 1),
    'order', substring(held_why FROM ', order ([0-9a-f-]{36}): '), 'detail', regexp_replace(held_why, '^.*?: ', ''))
  ELSE """
    + TEXT.format("held_why")
    + " END"
)
OF_FINDING = f"""CASE WHEN kind = 'missing' THEN jsonb_build_object('code', 'gone')
  WHEN detail = 'the ERP lists other bytes under its id' THEN jsonb_build_object('code', 'other_bytes')
  WHEN kind = 'foreign' THEN jsonb_build_object(
    'code', CASE WHEN detail LIKE '%never sent' THEN 'not_sent' ELSE 'not_known' END,
    'reference', substring(detail FROM 'the ERP has it as (.*), '))
  ELSE {MET.format("detail")} END"""

COLUMNS = (
    ("acts", "note", "CASE WHEN note <> '' THEN " + MET.format("note") + " END"),
    ("replays", "why", TEXT.format("why")),
    ("backends", "why", OF_CIRCUIT),
    ("backends", "held_why", OF_HOLD),
    ("findings", "detail", OF_FINDING),
)

STATEMENTS = [
    "ALTER TABLE acts ALTER note DROP DEFAULT, ALTER note DROP NOT NULL",
    *(
        f"ALTER TABLE {table} ALTER {name} TYPE jsonb USING CASE WHEN {name} IS NOT NULL THEN {told} END"
        for table, name, told in COLUMNS
    ),
    f"""UPDATE replays SET history = (
  SELECT jsonb_agg(CASE WHEN tried ->> 'failed' IS NULL THEN tried
    ELSE jsonb_set(tried, '{{failed}}', {TEXT.format("tried ->> 'failed'")}) END ORDER BY place)
  FROM jsonb_array_elements(history) WITH ORDINALITY AS h (tried, place)) WHERE history <> '[]'""",
    "COMMENT ON COLUMN backends.held_why IS 'of pause or quarantine'",
]


def upgrade() -> None:
    """Convert a journal that may hold orders: few rows of each table, but for what reconciliations found."""
    for statement in STATEMENTS:
        op.execute(statement)
