import json

import redis
from django.conf import settings
from django.db import connection
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_http_methods

from . import boxes, tasks
from .models import Order

SHOWN = 10
broker = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


@require_GET
def page(request):
    return render(request, "orders/page.html", {"release": settings.RELEASE, "orders": Order.objects.order_by("-id")[:SHOWN]})


@require_GET
def healthz(request):
    """The process answers; whether what it needs is there is readyz's question."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_GET
def readyz(request):
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        broker.ping()
    except Exception as error:
        return HttpResponse(f"not ready: {error}\n", content_type="text/plain", status=503)
    return HttpResponse("ready\n", content_type="text/plain")


@require_GET
def version(request):
    return JsonResponse({"release": settings.RELEASE, "color": settings.COLOR, "stack": settings.STACK})


@require_http_methods(["GET", "POST"])
def orders(request):
    if request.method == "POST":
        return place(request)
    last = list(Order.objects.order_by("-id")[:SHOWN])
    total = last[0].id if last else 0
    return JsonResponse({"orders": [o.described() for o in last], "total": total, "boxes": boxes.needed(total)})


def place(request):
    try:
        data = json.loads(request.body)
        order, new = Order.place(request.headers["Idempotency-Key"], data)
    except (KeyError, ValueError) as error:
        return JsonResponse({"error": repr(error)}, status=400)
    answer = {"id": order.id, "boxes": boxes.needed(order.id)}
    tasks.send(order)  # again for one that came twice: whoever sent it first may not have come this far
    return JsonResponse(answer, status=201 if new else 200)
