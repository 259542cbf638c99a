"""The two ways in which a command can be refused, each with one clear message. Pure."""


class BadInputError(Exception):
    """The user asked for something that cannot be: exit status 2."""


class MissingError(Exception):
    """The machine lacks something; the message says what, and how to get it: exit status 3."""
