"""The room `access` of the console: accounts, sessions, roles, the login."""
