"""Commands about what comes in: orders, clients and their keys, the spool and the spill."""
