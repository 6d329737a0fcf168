"""What kombu does not let go of when a connection is lost: it closes its channels until one of them fails to close, as
the one that waits for messages then does, and forgets the others, each with a socket and a poller that nobody closes.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import virtual

_close_channels = virtual.Transport.close_connection


def close_every_channel(transport: virtual.Transport, connection: Any) -> None:
    """Close all channels of the transport, whatever becomes of each. Raises what the first had to say."""
    failed: Exception | None = None
    while True:
        try:
            _close_channels(transport, connection)  # takes each off its list before it closes it
            break
        except transport.connection_errors as error:
            failed = failed or error
    if failed is not None:
        raise failed


def let_go_of_all() -> None:
    """From now on, whatever connection kombu closes in this process."""
    virtual.Transport.close_connection = close_every_channel
