"""The room `acts` of the console."""

from workers.console.acts.pages import router

__all__ = ["router"]
