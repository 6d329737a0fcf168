"""Commands that bring orders through: status, replay, drain, dead letters, reconcile, divert, forecast."""
