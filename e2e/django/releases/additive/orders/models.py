from django.db import models


class Order(models.Model):
    # The client's own name for the order: one that is sent twice is placed once.
    token = models.CharField(max_length=64, unique=True)
    customer = models.CharField(max_length=100)
    quantity = models.PositiveIntegerField()
    note = models.CharField(max_length=100, null=True)  # the release before does not write it
    placed = models.DateTimeField(auto_now_add=True)

    @classmethod
    def place(cls, token, data):
        return cls.objects.get_or_create(token=token, defaults={"customer": data["customer"], "quantity": int(data["quantity"]), "note": data.get("note")})

    def described(self):
        return {"id": self.id, "customer": self.customer, "quantity": self.quantity, "note": self.note}


class Handled(models.Model):
    """What the worker made of an order: one row each time its task ran."""

    order_id = models.BigIntegerField(db_index=True)
    stack = models.CharField(max_length=64)
    release = models.CharField(max_length=64)
    at = models.FloatField()


class Tick(models.Model):
    """What beat sent, by the sender's clock in seconds since 1970."""

    stack = models.CharField(max_length=64)
    at = models.FloatField(db_index=True)
