"""Whether processes live: canaries through the queue, the check for containers, systemd's watchdog.

Face: `canary.Canary`, `check.check`, `supervise.supervise`, `systemd`.
"""
