"""The room `search` of the console."""

from workers.console.search.pages import router

__all__ = ["router"]
