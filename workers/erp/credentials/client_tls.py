"""The context of TLS in which we show a certificate of our own, or believe an authority that is none of the system's.

The files are looked at with every request and read again when they changed. A pair that does not fit together, as
while it is being renewed, leaves the one before in use.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from pathlib import Path

from workers.erp.credentials.options import TlsOptions
from workers.erp.failures import Met, Unfit

log = logging.getLogger("relais.erp")

_Stamps = tuple[tuple[int, int, int], ...]


class ClientTls:
    """The contexts to one ERP; with a `pinned` certificate no authority is asked."""

    def __init__(self, options: TlsOptions, *, pinned: bool) -> None:
        self._options, self._pinned = options, pinned
        self._files = [
            file for file in (options.certificate_file, options.key_file, options.authority_file) if file is not None
        ]
        self._stamps: _Stamps = ()
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None

    def context(self, *, ours: bool = True) -> ssl.SSLContext:
        """For the next request, to the ERP or to another, which our certificate is not shown to. Raises Unfit, which
        names the files at fault.
        """
        try:
            stamps = _stamps(self._files)
            if self._contexts is None or stamps != self._stamps:
                self._contexts, self._stamps = (self._made(), self._for_another()), stamps
        except (OSError, ValueError) as error:  # ssl's own errors are OSErrors
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
            files = ", ".join(map(str, self._files))
            if self._contexts is None:
                raise Unfit(Met.NO_CREDENTIALS, f"{files}: {why}") from None
            log.warning("the certificate cannot be renewed", extra={"files": files, "why": str(why)})
        return self._contexts[0 if ours else 1]

    def _made(self) -> ssl.SSLContext:
        """Raises OSError and ValueError."""
        own, context = self._options, self._for_another()
        if self._pinned:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if own.certificate_file is not None:
            # Without a password OpenSSL would ask the terminal for that of a key that has one.
            context.load_cert_chain(own.certificate_file, own.key_file, password="")
        return context

    def _for_another(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._options.authority_file)


def _stamps(files: Iterable[Path]) -> _Stamps:
    stats = [file.stat() for file in files]
    return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in stats)
