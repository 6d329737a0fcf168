"""A release names its backend, whatever detail it comes with: whoever calls the function could leave it out."""

from alembic import op

revision = "0040"
down_revision = "0039"

RELEASE = """CREATE OR REPLACE FUNCTION relais_release(backend text, operator text, reason text, detail jsonb)
RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
WITH released AS (
UPDATE backends SET quarantined = false, quarantined_at = NULL, quarantined_by = NULL, held_why = NULL,
  circuit = 'open', "window" = 1, trips = 0, changed_at = clock_timestamp(),
  probe_at = clock_timestamp(), why = '{"code": "released"}'
WHERE name = $1 AND quarantined RETURNING name)
INSERT INTO operations (operator, act, reason, detail)
SELECT $2, 'release', $3, $4 || jsonb_build_object('backend', name) FROM released RETURNING id $$"""


def upgrade() -> None:
    """No row is touched."""
    op.get_bind().exec_driver_sql(RELEASE)
