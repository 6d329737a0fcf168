"""The room `recovery` of the console."""

from workers.console.recovery.pages import router

__all__ = ["router"]
