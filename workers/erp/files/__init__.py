"""The files connector: orders as files in a directory or over SFTP, answers out of another one (docs/files.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from yarl import URL

from config.settings import Settings
from workers.erp.connectors import BadConnector, Connector
from workers.erp.files.connector import FilesErp as FilesErp
from workers.erp.files.local import LocalPlace
from workers.erp.files.options import FilesOptions
from workers.erp.files.place import FilePlace
from workers.erp.files.sftp import SftpPlace
from workers.erp.port import Barrier
from workers.erp.signatures import Keys


def _open(settings: Settings, own: FilesOptions, _: Keys | None, barrier: Barrier | None) -> FilesErp:
    return FilesErp(_place(settings, own), settings, own, barrier)


def _place(settings: Settings, own: FilesOptions) -> FilePlace:
    """Where the URL leads. Raises MissingSetting and BadConnector."""
    url, erp = URL(settings.need("erp_url")), settings.erp
    if url.scheme == "file" and not url.host:
        return LocalPlace(Path(url.path))
    if url.scheme != "sftp" or not url.host:
        raise BadConnector(erp.backend, "RELAIS_ERP_URL must be file:///directory or sftp://host[:port]/directory")
    if url.user or url.password:
        raise BadConnector(erp.backend, "RELAIS_ERP_URL names a user; that belongs in", erp.connector, "sftp.user")
    if own.sftp is None:
        raise BadConnector(erp.backend, "an sftp:// URL needs it", erp.connector, "sftp")
    return SftpPlace(url, own.sftp, erp.timeout)


FILES: Final = Connector(FilesOptions, _open)
