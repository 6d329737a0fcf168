"""The queue: Celery and kombu live here, and beside it only `workers.worker` knows them.

Face: `app.create_app`, `publisher.Publisher`, `names`, `registry`, `inspect`.
"""
