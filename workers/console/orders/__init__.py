"""The room `orders` of the console."""
