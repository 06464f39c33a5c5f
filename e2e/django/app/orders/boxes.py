def needed(orders):
    """How many boxes so many orders are packed in, five in each."""
    return -(-orders // 5)
