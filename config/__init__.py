"""Settings, logging, Celery and Flower configuration, embedded services. Knows nothing of orders."""
