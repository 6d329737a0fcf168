"""The room `dead` of the console."""
