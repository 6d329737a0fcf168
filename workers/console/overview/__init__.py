"""The room `overview` of the console."""
