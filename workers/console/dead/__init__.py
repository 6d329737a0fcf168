"""The room `dead` of the console."""

from workers.console.dead.pages import router

__all__ = ["router"]
