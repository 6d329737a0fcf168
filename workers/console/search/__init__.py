"""The room `search` of the console."""
