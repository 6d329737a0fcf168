"""The room `overview` of the console."""

from workers.console.overview.pages import router

__all__ = ["router"]
