"""The verbs of the command line, one per file; each has a `command`."""
