"""What an SFTP server tells of a file, and of the file systems that its directories lie on."""

from __future__ import annotations

import stat

import asyncssh
from asyncssh.constants import FILEXFER_TYPE_REGULAR


def is_plain(attrs: asyncssh.SFTPAttrs) -> bool:
    """Whether it is a file, and no link or directory."""
    if attrs.permissions is not None and stat.S_IFMT(attrs.permissions):
        return stat.S_ISREG(attrs.permissions)
    return attrs.type == FILEXFER_TYPE_REGULAR


async def is_full(client: asyncssh.SFTPClient, directory: str) -> bool:
    """Whether there is no space left; a server that does not tell is believed to have some."""
    try:
        return bool((await client.statvfs(directory)).bavail == 0)
    except asyncssh.SFTPError:
        return False


async def are_apart(client: asyncssh.SFTPClient, one: str, other: str) -> bool:
    """Whether two directories lie on different file systems; not where a server does not tell."""
    try:
        return bool((await client.statvfs(one)).fsid != (await client.statvfs(other)).fsid)
    except asyncssh.SFTPError:
        return False
