"""What the intake keeps in Redis: the spill store and its drain, the rate limit.

Face: `spill_store`, `spill_drain`, `rate_limit`. Beside this room only `workers.queue` and `workers.monitoring.space`
import redis.
"""
