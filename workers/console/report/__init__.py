"""The room `report` of the console."""

from workers.console.report.pages import router

__all__ = ["router"]
