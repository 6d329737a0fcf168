"""The room `acts` of the console."""
