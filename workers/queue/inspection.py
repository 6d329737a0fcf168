"""What is left of Celery's remote control: questions. Whoever may publish to a worker's control channel, as Flower's
user of Redis and an operator's may, learns how the worker is, and changes nothing about what it does.

`hello`, which workers ask each other as they start, is no question: it makes the asked forget tasks.
"""

from __future__ import annotations

from typing import Final

from celery.worker.control import Panel

QUESTIONS: Final = frozenset(
    {
        *("active", "active_queues", "clock", "conf", "ping", "query_task", "registered", "report"),
        *("reserved", "revoked", "scheduled", "stats"),
        "enable_events",  # which are on already; Flower says so every few seconds
    }
)


def answer_questions_only() -> None:
    """From now on, whatever worker begins in this process."""
    for known in (Panel.data, Panel.meta):
        for name in known.keys() - QUESTIONS:
            del known[name]
