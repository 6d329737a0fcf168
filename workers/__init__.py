"""What happens to an order once it is journalled: dispatch, delivery, circuit, replay, the command line."""
