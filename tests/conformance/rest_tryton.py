"""Tryton, as the connector to a REST is tried against it."""

from __future__ import annotations

import pytest

from config.settings import Settings
from tests.conformance.real_tryton import RealTryton
from tests.machines import tryton
from tests.machines.erp import settings_for
from workers.erp.port import Submission

KEY = "a key of a user application's"


class RestTryton(RealTryton):
    """The same Tryton, by its REST and the profile that comes with Relais: an order is four calls, and half a second of
    Tryton's.
    """

    many = 10

    def start(self) -> None:
        first = not self._tryton.started
        super().start()
        if first:
            (self._directory / "password").write_text(KEY)
            self._tryton.sql(tryton.APPLICATION, KEY)
            self._warehouse = self._tryton.sql(tryton.WAREHOUSES)[0][0]

    def settings(self, port: int | None = None) -> Settings:
        file = self._directory / "rest.toml"
        told = ['profile = "tryton-rest"', "[auth]", 'token_file = "password"', "[settings]"]
        told += [f"company = {tryton.COMPANY}", f"currency = {tryton.CURRENCY}", f"warehouse = {self._warehouse}"]
        file.write_text("\n".join(told))
        url = f"http://127.0.0.1:{port or self.port}/{tryton.DATABASE}/rest"
        return settings_for(
            url, erp_kind="rest", erp_connector=file, erp_timeout=20.0, erp_absent_after=5.0, erp_concurrency=8
        )

    def back_order(self) -> Submission:
        pytest.skip("the profile cannot compare the day of a line with that of its sale")

    def log_out(self) -> None:
        """A key is no session."""

    def lock_out(self) -> None:
        self._tryton.sql("UPDATE res_user_application SET state = 'cancelled'")
