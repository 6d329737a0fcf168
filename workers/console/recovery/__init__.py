"""The room `recovery` of the console."""
