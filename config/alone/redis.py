"""redis-py without its clients of a cluster, and without OpenTelemetry's SDK, which it takes along where it finds it.

It would feed that with metrics, if anybody asked it to. Nobody does here, and it takes 0.1 s and 6 MiB of every
process.
"""

from config.alone import import_without

CLUSTER = ("redis.asyncio.cluster", "redis.asyncio.keyspace_notifications")

import_without(CLUSTER, "redis.asyncio", missing=["opentelemetry.sdk.metrics"])
