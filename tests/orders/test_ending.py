"""A task that swallows what cancels it, as a client library may, is ended all the same."""

import asyncio
from contextlib import suppress

import pytest

from orders import ending
from orders.ending import ended


async def swallowing(times: int) -> None:
    """Goes on `times` times as it is cancelled."""
    for _ in range(times):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


async def failing() -> None:
    raise ValueError("nobody's")


@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_task_that_goes_on_is_cancelled_until_it_ends(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    monkeypatch.setattr(ending, "AGAIN", 0.05)

    async def main() -> None:
        task = asyncio.create_task(swallowing(times))
        await asyncio.sleep(0)
        await asyncio.wait_for(ended(task, None), 30)
        assert task.cancelled()

    asyncio.run(main())


def test_what_has_ended_by_itself_is_nobodys() -> None:
    async def main() -> None:
        task = asyncio.create_task(failing())
        await asyncio.wait({task})
        await ended(task)
        assert isinstance(task.exception(), ValueError)

    asyncio.run(main(), debug=True)
