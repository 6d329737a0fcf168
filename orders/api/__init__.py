"""The intake over HTTP: orders in, one by one or in batches; what became of them, asked for or told."""

from orders.api.app import Api, create_app
from orders.api.request import BODY_LIMIT
from orders.api.state import Parts

__all__ = ["BODY_LIMIT", "Api", "Parts", "create_app"]
