from .celery import app as celery_app  # shared_task needs it in every process
