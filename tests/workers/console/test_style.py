"""The console's style sheet: every pair of colours that is used for text can be read, in light and in dark."""

import re

import pytest

from tests.machines.tools import ROOT

CSS = (ROOT / "workers" / "console" / "static" / "console.css").read_text()
BLOCK = re.compile(r"(?<![\w-])((?::root[^\s{]*)+) \{([^}]*)\}")
TOKEN = re.compile(r"(--[\w-]+): (#[0-9a-f]{3,6});")
GROUNDS = ("paper", "ground")
TEXT = [  # what is written on what
    *((ink, ground) for ink in ("ink", "soft", "accent", "good", "warn", "bad") for ground in GROUNDS),
    *(("ink", f"{kind}-ground") for kind in ("good", "warn", "bad", "quiet")),
    *((kind, f"{kind}-ground") for kind in ("good", "warn", "bad")),
    ("soft", "quiet-ground"),
    ("accent", "quiet-ground"),
    ("accent-ink", "accent"),
    ("paper", "bad"),
]
SHAPES = [(shape, ground) for shape in ("edge", "accent", "in", "out", "third") for ground in GROUNDS]


def themes() -> dict[str, dict[str, str]]:
    """Tokens by the selector that sets them; what a theme leaves out is as in light."""
    found: dict[str, dict[str, str]] = {}
    for selector, rules in BLOCK.findall(CSS):
        found.setdefault(selector, {}).update(TOKEN.findall(rules))
    light = found[":root"]
    return {selector: light | tokens for selector, tokens in found.items()}


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * each for each in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", themes())
def test_what_is_written_can_be_read(theme: str) -> None:
    colours = themes()[theme]
    faint = {
        f"{ink} on {ground}": round(contrast(colours[f"--{ink}"], colours[f"--{ground}"]), 2)
        for pairs, least in ((TEXT, 4.5), (SHAPES, 3.0))
        for ink, ground in pairs
        if contrast(colours[f"--{ink}"], colours[f"--{ground}"]) < least
    }
    assert faint == {}


def test_dark_is_the_same_by_choice_and_by_the_systems_wish() -> None:
    found = themes()
    assert found[':root[data-theme="dark"]'] == found[':root:not([data-theme="light"])'] != found[":root"]


def test_contrast_is_what_the_standard_says() -> None:
    assert contrast("#000000", "#ffffff") == 21
    assert round(contrast("#777777", "#ffffff"), 2) == 4.48
