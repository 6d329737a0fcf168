"""`python -m workers.erp.sim`: the simulator without the rest of Relais, every knob of the dial as an option."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from workers.erp.sim import Dial, run_sim


def main(argv: list[str] | None = None) -> None:
    """Serve until told to stop; a knob's value is JSON, or a plain word."""
    parser = argparse.ArgumentParser(prog="erp-sim", description="Simulate an ERP.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8471)
    parser.add_argument("--control-port", type=int, default=0, help="on 127.0.0.1; 0 is any free one")
    parser.add_argument("--file", type=Path, required=True, help="what the ERP took, one JSON line for each effect")
    for name, field in Dial.model_fields.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=_value, default=argparse.SUPPRESS, help=field.description, metavar="VALUE")
    options = vars(parser.parse_args(argv))
    host, port, file, control_port = (options.pop(name) for name in ("host", "port", "file", "control_port"))
    run_sim(host, port, file, Dial.model_validate(options), control_port)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
