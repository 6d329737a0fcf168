"""What an order is and how it gets into the journal. Knows no Celery, kombu or Redis."""
