"""What `relais up` tells a person once everything runs: ten lines, and what to try first.

Passwords are not in them but for Flower's, which is shown this once.
"""

from __future__ import annotations

from shlex import quote

from config.settings import Settings
from config.settings.stores import default_data_dir
from workers.up.endpoints import masked
from workers.up.stack import Stack

WIDTH = 9  # characters of a name


def report(stack: Stack, link: str | None = None) -> list[str]:
    """Where everything is, what moved, and how to try an outage; `link` is the path that lets the first person in."""
    offered, relais = stack.offered, command_for(stack.settings)
    simulated = "simulated" if stack.control_port is not None else "not ours"
    erp = stack.settings.erp.url or "several, see RELAIS_BACKENDS"
    places = {
        "Console": f"{offered['console_url']}{link}  for the first account, once"
        if link
        else f"{offered['console_url']}  an account: {relais} account add NAME --role approver",
        "Intake": f"{offered['api_url']}  a key: {relais} client add NAME",
        "ERP": f"{masked(erp)}  {simulated}",
        "Flower": f"{offered['flower_url']}  user {offered['flower_user']}, password {offered['flower_password']}",
        "Metrics": str(offered["exporter_url"]),
        "Journal": masked(str(offered["database_url"])),
        "Redis": masked(str(offered["redis_url"])),
    }
    tries = [f"Orders to try: {relais} submit FILE. How it stands: {relais} status --watch."]
    if stack.control_port is not None:
        tries.append(f"An outage to try: {relais} outage on, and later {relais} outage off.")
    told = [f"Relais is up. Data and logs are in {stack.settings.files.data_dir}; Ctrl-C stops everything."]
    return [*told, *(f"  {name:{WIDTH}}{where}" for name, where in places.items()), *tries, *map(_moved, stack.moved)]


def command_for(settings: Settings) -> str:
    """How the command line is called so that it finds this run."""
    data_dir = settings.files.data_dir
    return "relais" if data_dir == default_data_dir() else f"relais --data-dir {quote(str(data_dir))}"


def _moved(why: str) -> str:
    return f"Warning: {why}; it listens elsewhere."
