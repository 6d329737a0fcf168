"""`python -m workers.cli`, which is how `relais up` starts its children."""

from workers.cli import main

main()
