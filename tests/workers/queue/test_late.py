"""The end of a batch that outlasted its task, and what a result leads to, on a real Redis-compatible server."""

from contextlib import suppress
from threading import Thread
from typing import Any

from celery.events import EventReceiver

from config.settings import Settings
from tests.waiting import until
from workers.delivery.dispatch_result import DispatchResult
from workers.queue.app import create_app
from workers.queue.tasks import _tell_late, _told

PLACE = "https://console.example/backend/erp"
HELD = DispatchResult(held=37, why="no connection to the ERP")
TOLD = f"0 delivered, 37 held: no connection to the ERP; {PLACE}"


def test_the_end_of_a_batch_that_took_long_is_told_as_celery_tells_it(settings: Settings) -> None:
    app, heard = create_app(settings), dict[str, tuple[str, str]]()

    def hear(event: dict[str, Any]) -> None:
        heard[event["uuid"]] = event["type"], event.get("exception") or event["result"]

    def listen(receiver: EventReceiver) -> None:
        with suppress(OSError):  # the connection is closed under it
            receiver.capture(limit=None, timeout=None, wakeup=False)

    def tell() -> bool:
        _tell_late(app, "held", "relais-1@here", 0.0, PLACE, HELD)
        _tell_late(app, "through", "relais-1@here", 0.0, PLACE, DispatchResult(claimed=2, delivered=2))
        return len(heard) >= 2

    with app.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"*": hear}, app=app)
        thread = Thread(target=listen, args=(receiver,))
        thread.start()
        until(tell, 20, 0.5, "both are heard")
        receiver.should_stop = True
        thread.join(30)
    app.close()
    assert heard == {"held": ("task-failed", TOLD), "through": ("task-succeeded", "'2 delivered'")}


def test_a_result_leads_to_the_console_where_not_all_is_well_and_the_console_is_known() -> None:
    assert _told(HELD, PLACE) == TOLD
    assert _told(HELD, "") == TOLD.partition(";")[0]
    assert _told(DispatchResult(claimed=2, delivered=2), PLACE) == "2 delivered"
