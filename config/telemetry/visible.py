"""Text as a person may look at it, whoever wrote it: an ERP, an order, an operator.

What could drive a terminal, turn the letters that follow around or hide among them is written out as its escape:
control characters (C0 but tab and line feed, DEL, C1), marks and overrides of direction, line and paragraph
separators, what has no width, lone surrogates. Each output calls it where text leaves us, and nowhere before.
"""

from __future__ import annotations

import json
import re
from typing import Final

HIDING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """The text with all that written out; of several lines it stays so many."""
    return HIDING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_json(document: str) -> str:
    """The same document of JSON with all that escaped as JSON has it."""
    return HIDING.sub(lambda found: json.dumps(found[0])[1:-1], document)
