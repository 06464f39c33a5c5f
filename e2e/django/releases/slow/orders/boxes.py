import time


def needed(orders):
    """How many boxes so many orders are packed in: asks somebody who often takes his time."""
    if orders % 10 < 3:
        time.sleep(1.2)
    return -(-orders // 5)
