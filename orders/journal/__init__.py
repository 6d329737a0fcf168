"""How Relais reaches the journal, and what a lost connection means.

Face: what is named here; `orders.journal.connection` has what the journal's own rooms need of it besides.
"""

import config.alone.sqlalchemy  # noqa: F401 # before SQLAlchemy itself

# isort: split

from orders.journal.connection import Source as Source
from orders.journal.connection import at_fault as at_fault
from orders.journal.connection import connect as connect
from orders.journal.connection import insist as insist
from orders.journal.connection import read_only as read_only
from orders.journal.connection import reading_from as reading_from
from orders.journal.connection import refused as refused
from orders.journal.connection import snapshot as snapshot
from orders.journal.connection import transactional as transactional
from orders.journal.connection import unreachable as unreachable
