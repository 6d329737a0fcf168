"""The one port of Relais: how orders reach an ERP, and the connectors and the simulator behind it."""
