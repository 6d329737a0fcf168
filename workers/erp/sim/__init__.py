"""A simulated ERP that honours docs/erp-contract.md, keeps what it took in a file, and can be made to misbehave.

`run_sim` is the process behind `relais erp-sim`; `Simulator` is the same inside an event loop, for tests.
"""

from workers.erp.sim.book import Effect, read_effects
from workers.erp.sim.dial import Dial
from workers.erp.sim.simulator import Simulator, run_sim

__all__ = ["Dial", "Effect", "Simulator", "read_effects", "run_sim"]
