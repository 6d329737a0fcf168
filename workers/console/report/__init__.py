"""The room `report` of the console."""
