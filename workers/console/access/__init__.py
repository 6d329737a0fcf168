"""The room `access` of the console: accounts, sessions, roles, the login."""

from workers.console.access.pages import router

__all__ = ["router"]
