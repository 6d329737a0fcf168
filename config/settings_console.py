"""The settings of the console."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from config.sources import FromEnvironment


class ConsoleSettings(FromEnvironment):
    """What `relais console` goes by; durations are seconds."""

    console_host: str = Field("127.0.0.1", description="address that the console listens on")
    console_port: int = Field(8474, ge=0, le=65535, description="port of the console")
    console_idle: PositiveFloat = Field(1800.0, description="time without use after which a login ends")
    console_session: PositiveFloat = Field(36000.0, description="longest time that a login at the console lasts")
    console_time_zone: str = Field("Europe/Paris", description="time zone in which the console tells times")
    product_search: bool = Field(True, description="keep an index of which orders hold a product, for the search")
