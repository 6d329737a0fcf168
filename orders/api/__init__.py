"""The intake over HTTP: orders in, one by one or in batches; what became of them, asked for or told."""

from orders.api.app import Api, create_app
from orders.api.asked import BODY_LIMIT
from orders.api.desk import Parts

__all__ = ["BODY_LIMIT", "Api", "Parts", "create_app"]
