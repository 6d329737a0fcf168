"""One HTTP/1.1 connection within bounds, and all of a process together: what intake and console listen with."""

from orders.api.connection.connections import Connections
from orders.api.connection.http_connection import HttpConnection

__all__ = ["Connections", "HttpConnection"]
