"""What is answered for waits for the disk also where the server's settings are read again before the commit."""

from alembic import op

revision = "0033"
down_revision = "0032"

STATEMENTS = [
    """CREATE OR REPLACE FUNCTION relais_durable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
PERFORM set_config('synchronous_commit', CASE current_setting('synchronous_commit')
WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true);
RETURN NULL;
END $$""",
    """DO $$
DECLARE guarded text;
BEGIN
FOR guarded IN SELECT CAST(tgrelid AS regclass) FROM pg_trigger WHERE tgname = 'durable' AND NOT tgisinternal LOOP
EXECUTE format('DROP TRIGGER durable ON %s', guarded);
EXECUTE format('CREATE TRIGGER durable BEFORE INSERT OR UPDATE OR DELETE ON %s '
'FOR EACH STATEMENT EXECUTE FUNCTION relais_durable()', guarded);
END LOOP;
END $$""",
]


def upgrade() -> None:
    """The guard holds what it finds for the transaction, where it changed what was off only."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
