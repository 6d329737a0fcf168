"""The command line, `relais`. Each command imports what it needs when it runs, so that `relais --help` is quick.

Exit codes are a promise to scripts: 0 all is well, 1 the answer is bad (`audit` does not balance, `drain` ran out of
time, `submit` could not place every order, not found), 2 the command could not be carried out (usage, settings, a
store out of reach), 130 interrupted. What a command reports goes to stdout, everything else to stderr.
"""

import gc
import warnings

COLLECT = 10_000  # new objects between two collections: what a command imports stays, and is not looked through again


def main() -> None:
    """Run the command that the process was started with, and exit."""
    gc.set_threshold(COLLECT)
    warnings.showwarning = _unsaid
    from workers.cli.app import run

    run()


def _unsaid(*_: object, **__: object) -> None:
    """What a library warns of is for who develops with it: servers log it, and nobody reads it at a terminal."""
