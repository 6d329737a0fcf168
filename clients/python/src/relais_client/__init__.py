"""A front end's client of Relais: hands orders to the intake, and keeps them on its own disk while that is away.

`OrderClient` is all that one needs; what it takes, what it answers and what it raises stand beside it. Whatever
it raises of its own is a `RelaisError`.
"""

from relais_client.answers import Kept as Kept
from relais_client.answers import Outcome as Outcome
from relais_client.answers import Unsendable as Unsendable
from relais_client.client import OrderClient as OrderClient
from relais_client.errors import Conflict as Conflict
from relais_client.errors import Fault as Fault
from relais_client.errors import Forbidden as Forbidden
from relais_client.errors import Malformed as Malformed
from relais_client.errors import RelaisError as RelaisError
from relais_client.errors import Unauthorised as Unauthorised
from relais_client.model import Line as Line
from relais_client.model import Order as Order
from relais_client.spool import SpoolStatus as SpoolStatus
from relais_client.spool_file import SpoolError as SpoolError
from relais_client.spool_file import SpoolFull as SpoolFull
