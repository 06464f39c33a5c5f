import time

from celery import shared_task
from django.conf import settings
from django.db import OperationalError

from .models import Handled, Tick

# A database that does not answer at once is no reason to lose a task.
patient = {"autoretry_for": (OperationalError,), "retry_backoff": 1, "max_retries": 8}


@shared_task(**patient)
def handle(order_id):
    Handled.objects.create(order_id=order_id, stack=settings.STACK, release=settings.RELEASE, at=time.time())


def send(order):
    """Has a worker handle the order."""
    return handle.delay(order.id)


@shared_task(bind=True, **patient)
def tick(self):
    sent = self.request.sent
    Tick.objects.create(stack=sent["by"], at=sent["at"])
