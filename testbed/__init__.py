"""The workbench: the command line, set-up, doctor, clean-up, and the pytest plugin."""
