"""The commands, a file each, in the rooms of the help."""
