"""What `relais up` decides about ports, and the lines that it tells a person."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from config.embedded.holding import Holding
from config.embedded.ports import PortTaken
from config.settings import Settings
from workers.up.report import report
from workers.up.stack import plan


@pytest.fixture
def holding(data_dir: Path) -> Holding:
    return Holding(data_dir)


def test_a_port_that_was_asked_for_is_an_error_where_it_is_taken_and_another_one_is_replaced_with_a_warning(
    holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(data_dir=holding.data_dir, console_port=port, _env_file=None)
        whose = rf"port {port} of 127\.0\.0\.1 is taken by process {os.getpid()} \(.*python"
        with pytest.raises(PortTaken, match=f"{whose}.*: RELAIS_CONSOLE_PORT asks for it"):
            plan(settings, holding)
        monkeypatch.setattr(Settings, "given", lambda _: {"data_dir"})
        stack = plan(settings, holding)
    assert stack.settings.console.port not in (0, port)
    warnings = [line for line in report(stack) if line.startswith("Warning: console: port ")]
    assert len(warnings) == 1
    assert warnings[0].endswith("; it listens elsewhere.")


def test_it_tells_ten_lines_with_no_password_but_flowers(holding: Holding) -> None:
    ports = {f"{name}_port": 0 for name in ("api", "flower", "exporter", "console", "erp_sim")}
    stack = plan(Settings(data_dir=holding.data_dir, **ports, _env_file=None), holding)
    assert stack.settings.console.url == stack.offered["console_url"], "a dispatch's result leads there"
    lines = report(stack)
    assert len(lines) == 10
    told = "\n".join(lines)
    assert f"relais --data-dir {holding.data_dir} outage on, and later" in told
    assert str(stack.offered["flower_password"]) in told
    for url in ("database_url", "redis_url"):
        password = str(stack.offered[url]).split(":")[2].split("@")[0]
        assert password not in told
    assert not [line for line in report(replace(stack, control_port=None)) if "outage" in line]
