"""The soak: a whole Relais of real processes under random faults, and the proof that no promise was broken."""
