"""`Retry-After`, whoever sends it: what RFC 9110 allows is understood, all else ignored, and nothing raises."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.retry_after import LONGEST_PAUSE, pause_asked

NOW = datetime(1994, 11, 6, 8, 49, 7, tzinfo=UTC)
FORMS = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994")
PARTS = ["Sun", ",", " ", "06", "Nov", "-", "94", "1994", "9999999999", "08:49:37", ":", "GMT", "+2400", "-9999", "é"]


@pytest.mark.parametrize("header", [*FORMS, "30"])
def test_each_form_of_rfc_9110_is_half_a_minute(header: str) -> None:
    assert pause_asked(header, NOW) == 30.0


@given(st.integers(min_value=0, max_value=10**40))
def test_any_number_of_seconds_is_a_pause_of_an_hour_at_most(seconds: int) -> None:
    assert pause_asked(str(seconds)) == min(seconds, LONGEST_PAUSE)


@given(st.datetimes(datetime(1900, 1, 1), timezones=st.just(UTC)))
def test_any_date_is_a_pause_until_then_of_an_hour_at_most(when: datetime) -> None:
    left = (when.replace(microsecond=0) - NOW) / timedelta(seconds=1)
    assert pause_asked(format_datetime(when, usegmt=True), NOW) == min(max(left, 0.0), LONGEST_PAUSE)


@given(st.one_of(st.text(), st.lists(st.sampled_from(PARTS)).map("".join), st.datetimes().map(format_datetime)))
def test_nothing_that_a_header_can_hold_raises_or_asks_for_more_than_an_hour(header: str) -> None:
    pause = pause_asked(header)
    assert pause is None or 0.0 <= pause <= LONGEST_PAUSE
