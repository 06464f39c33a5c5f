def needed(orders):
    """How many boxes so many orders are packed in, three in each, and how full the last one is."""
    whole, rest = divmod(orders, 3)
    return whole + 1 // rest  # wrong, a third of the time
