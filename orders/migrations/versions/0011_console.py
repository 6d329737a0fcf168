"""Who may come in to the console, and who is in."""

from alembic import op

revision = "0011"
down_revision = "0010"

STATEMENTS = [
    """CREATE TABLE accounts (
	name TEXT NOT NULL,
	role TEXT NOT NULL,
	password TEXT,
	subject TEXT,
	created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	disabled_at TIMESTAMP WITH TIME ZONE,
	CONSTRAINT pk_accounts PRIMARY KEY (name),
	CONSTRAINT ck_accounts_role CHECK (role IN ('viewer', 'operator', 'approver')),
	CONSTRAINT uq_accounts_subject UNIQUE (subject)
)""",
    """COMMENT ON TABLE accounts IS 'who may come in to the console, and what they may do there'""",
    """COMMENT ON COLUMN accounts.name IS 'as it stands in operations'""",
    """COMMENT ON COLUMN accounts.password IS 'argon2id; null for who comes by the identity provider alone'""",
    """COMMENT ON COLUMN accounts.subject IS 'issuer and subject at the identity provider'""",
    """COMMENT ON COLUMN accounts.changed_at IS 'of the password'""",
    """CREATE TABLE console_sessions (
	digest BYTEA NOT NULL,
	account TEXT NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
	address TEXT,
	CONSTRAINT pk_console_sessions PRIMARY KEY (digest)
)""",
    """CREATE INDEX ix_console_sessions_account ON console_sessions (account)""",
    """COMMENT ON TABLE console_sessions IS 'who is logged in at the console; rows come and go'""",
    """COMMENT ON COLUMN console_sessions.digest IS 'SHA-256 of the token'""",
    """COMMENT ON COLUMN console_sessions.expires_at IS 'at the latest'""",
    """COMMENT ON COLUMN console_sessions.address IS 'where its login came from'""",
    """CREATE TABLE console_logins (
	key BYTEA NOT NULL,
	failures INTEGER NOT NULL,
	at TIMESTAMP WITH TIME ZONE NOT NULL,
	until TIMESTAMP WITH TIME ZONE NOT NULL,
	succeeded_at TIMESTAMP WITH TIME ZONE,
	CONSTRAINT pk_console_logins PRIMARY KEY (key)
)""",
    """COMMENT ON TABLE console_logins IS 'how often logins failed, and from where they did not; rows come and go'""",
    """COMMENT ON COLUMN console_logins.key IS 'SHA-256 of an account, an address, or both'""",
    """COMMENT ON COLUMN console_logins.failures IS 'in a row, each forgotten after an hour without another'""",
    """COMMENT ON COLUMN console_logins.at IS 'of the last'""",
    """COMMENT ON COLUMN console_logins.until IS 'no password is looked at before'""",
    """COMMENT ON COLUMN console_logins.succeeded_at IS 'of account and address: the last login that did not fail'""",
]


def upgrade() -> None:
    """Add them to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
