"""Files of orders, as people have them, handed over to the intake.

Face: `send.send`. Which files are taken is told in `formats`, a CSV's rows become orders in `rows`.
"""
