import os
import pathlib
import time

from celery import Celery
from celery.signals import before_task_publish, heartbeat_sent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@before_task_publish.connect
def stamp(headers=None, **_):
    """Each message says who sent it and when: a worker that is slow, or of another color, tells nothing about its sender."""
    from django.conf import settings

    headers["sent"] = {"by": settings.STACK, "at": time.time()}


@heartbeat_sent.connect
def alive(**_):
    """What the worker's health check looks at: `celery inspect ping` would start a Python each time."""
    pathlib.Path("/tmp/alive").touch()
