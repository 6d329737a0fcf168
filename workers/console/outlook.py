"""What a forecast says to people, in one sentence: the same wherever the console shows it."""

from __future__ import annotations

from workers.console.i18n import Words
from workers.console.masking import say
from workers.forecast.foretold import Forecast


def outlook(found: Forecast, words: Words) -> str:
    """When the backlog of its backend will be empty, its condition first; or why nobody can say."""
    _ = words.gettext
    p50, p95 = words.moment(found.p50), words.moment(found.p95)
    if found.p50 is None:
        return _("nobody can say when its backlog will be empty: %(why)s") % {"why": say(found.why, words)}
    if found.p95 is None:
        told = _("its backlog will be empty by %(p50)s as likely as not; %(why)s")
        return told % {"p50": p50, "why": say(found.why, words)}
    figures = {"p50": p50, "p95": p95, "condition": say(found.assumes, words)}
    if found.assumes:
        return _("if %(condition)s, its backlog will be empty by %(p50)s, 19 times in 20 by %(p95)s") % figures
    return _("its backlog will be empty by %(p50)s, 19 times in 20 by %(p95)s") % figures
