"""Other constants for a process that a test starts: what nobody should turn is no setting, and some tests cannot wait.

Python imports this by itself where its folder is on PYTHONPATH; RELAIS_TEST_CONSTANTS has `module:NAME=number`, several
apart by spaces (`tests.constants.turned` makes both). A constant gets its value when its module has been imported.
Under libfaketime, `time.sleep` sleeps by `select`: the system call that Python has for it fails there.
"""

import os
import select
import sys
import time
from collections import defaultdict
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

WANTED = defaultdict(dict)
for each in os.environ.get("RELAIS_TEST_CONSTANTS", "").split():
    place, _, value = each.partition("=")
    module, _, name = place.partition(":")
    WANTED[module][name] = float(value) if "." in value else int(value)


class Turning(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target) if name in WANTED else None
        if spec is None:
            return None
        execute = spec.loader.exec_module

        def turned(module):
            execute(module)
            for constant, value in WANTED[name].items():
                assert hasattr(module, constant), f"{name} has no {constant}"
                setattr(module, constant, value)

        spec.loader.exec_module = turned
        return spec


if "FAKETIME_TIMESTAMP_FILE" in os.environ:
    time.sleep = lambda seconds: select.select([], [], [], seconds) and None
sys.meta_path.insert(0, Turning())
