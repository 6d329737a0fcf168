"""Who may do what in Redis: the users of its ACL, each with the keys, channels and commands that it needs, no more.

The one source of it: `relais admin secrets` and `relais admin acl` write the file for a server of yours, and the
embedded Valkey always runs under it. What each user needs was found by running everything with `ACL LOG`, and a test
keeps it so. Passwords stand in the file as SHA-256 only. The user `default`, who needs no name, is off.

Flower and an operator's `inspect` publish to the workers' control channel, where a worker answers questions and obeys
nobody (`workers.queue.inspection`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from config.redis_keys import ASIDE, NORMAL, NOTICES, SPILL_ASIDE, SPILL_ERA, SPILL_NOTES, SPILL_RECORDS, URGENT

ADMIN: Final = "admin"
OPS: Final = "ops"

# Keys. A queue is one list for each of kombu's priorities, hence the star behind a name that is whole.
QUEUES: Final = (f"{URGENT}.*", f"{NORMAL}.*", f"{NOTICES}*")
CANARIES: Final = ("relais.canary.*",)
SPILL: Final = (SPILL_RECORDS, SPILL_NOTES, SPILL_ERA)
WATCHED: Final = (ASIDE, SPILL_ASIDE, *QUEUES, *CANARIES, *SPILL)
RATES: Final = ("relais:rate:*",)
BINDINGS: Final = ("_kombu.binding.*", "_kombu.binding_permanent.*", "_kombu.binding_deadlines")
ANSWERS: Final = ("*.reply.celery.pidbox*",)  # of workers to those who asked them something
MAILBOXES: Final = ("*.celery.pidbox*", "celeryev.*")  # of a consumer itself: it deletes them as it leaves

# Channels of the one database; kombu subscribes by pattern, and a pattern must stand here as it is asked for.
CONTROL: Final = ("/0.celery.pidbox", "/0.celery.pidbox/*")
EVENTS: Final = ("/0.celeryev", "/0.celeryev/*", "/0.celeryev/worker.*")

# Commands.
HELLO: Final = ("ping", "hello", "client|setinfo", "client|setname", "client|id", "quit")  # and no `select`: database 0
BATCH: Final = ("multi", "exec", "discard", "watch", "unwatch")
CONSUME: Final = (
    "brpop",
    "llen",
    "exists",
    "del",
    "sadd",
    "srem",
    "smembers",
    "sismember",
    "zadd",
    "zrem",
    "zrange",
    "zrangebyscore",
    "eval",
    "evalsha",
    "script|load",
    "script|exists",
    "time",
    "pexpire",
    "expire",
    "publish",
    "subscribe",
    "unsubscribe",
    "psubscribe",
    "punsubscribe",
)
ON_DISK: Final = ("config|get",)  # whether what is spilled is on the server's disk


@dataclass(frozen=True, slots=True)
class User:
    """What one user may: commands, keys to read and write, keys to read only, channels to publish to or hear, and
    commands that it may use on some other keys alone.
    """

    commands: tuple[str, ...]
    keys: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    only: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def rules(self) -> list[str]:
        """The words of the ACL, from nothing upward."""
        keys = [f"~{each}" for each in self.keys] + [f"%R~{each}" for each in self.reads]
        channels = [f"&{each}" for each in self.channels]
        words = ["resetkeys", "resetchannels", "-@all", *keys, *channels, *(f"+{each}" for each in self.commands)]
        commands, others = self.only
        selector = [*(f"~{each}" for each in others), *(f"+{each}" for each in commands)]
        return [*words, f"({' '.join(selector)})"] if commands else words


USERS: Final[Mapping[str, User]] = {
    ADMIN: User(("@all",), ("*",), (), ("*",)),
    # Intake: spills and counts; it neither publishes nor reads a dispatch.
    "api": User(
        (
            *HELLO,
            *BATCH,
            *ON_DISK,
            "info",  # has it room; where Sentinels watch it: has it a replica,
            "wait",  # and does that have what was spilled
            "eval",
            "rpush",
            "lrange",
            "llen",
            "lindex",
            "exists",
            "hget",
            "hset",
            "hmget",
            "set",
            "get",
            "time",
            "pexpire",
        ),
        (*SPILL, *RATES),
    ),
    # Dispatcher and worker: publish and take dispatches, empty the spill.
    "worker": User(
        (
            *HELLO,
            *BATCH,
            *ON_DISK,
            *CONSUME,
            "lpush",
            "lrange",
            "lindex",
            "ltrim",
            "hget",
            "hmget",
            "hincrby",
            "hdel",
            "xadd",
        ),
        (ASIDE, SPILL_ASIDE, *QUEUES, *CANARIES, *SPILL, *BINDINGS, *ANSWERS, *MAILBOXES),
        channels=(*CONTROL, *EVENTS),
        only=(("lrem",), (SPILL_ASIDE,)),
    ),
    # Flower: hears events, asks workers how they are; of the queues only how long they are.
    "flower": User(
        (*HELLO, *BATCH, *CONSUME),
        (*BINDINGS, *ANSWERS, *MAILBOXES),
        (*QUEUES, *CANARIES),
        (*CONTROL, *EVENTS),
    ),
    # Metrics: lengths and memory, never what a message or a spilled order says.
    "exporter": User((*HELLO, "info", "llen", "xinfo|stream"), (), WATCHED),
    # The console: the same. What it does goes through the journal, which wakes the dispatcher.
    "console": User((*HELLO, "info", "llen", "xinfo|stream"), (), WATCHED),
    # The command line: how things stand, the spill's records, canaries to see whether workers answer; and it may drop
    # a message that no worker can take, which the journal sends again, and forged records.
    OPS: User(
        (*HELLO, *BATCH, *CONSUME, *ON_DISK, "info", "lrange", "lindex", "lpush", "xinfo|stream", "xrevrange"),
        (*CANARIES, *BINDINGS, *ANSWERS, *MAILBOXES),
        (ASIDE, SPILL_ASIDE, *QUEUES, *SPILL),
        (*CONTROL, *EVENTS),
        (("lrem", "del"), (SPILL_ASIDE, *QUEUES)),
    ),
}


def acl_file(passwords: Mapping[str, str]) -> str:
    """The file for `aclfile`: every user with the hash of its password. KeyError when one has none."""
    lines = ["user default off resetpass resetkeys resetchannels -@all"]
    for name, user in USERS.items():
        digest = hashlib.sha256(passwords[name].encode()).hexdigest()
        lines.append(" ".join(["user", name, "on", "resetpass", f"#{digest}", *user.rules()]))
    return "\n".join(lines) + "\n"
