"""Commands that start a process or set one up."""
