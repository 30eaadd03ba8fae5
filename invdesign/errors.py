"""The one exception a user sees."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: the field, what was wrong, what would be right.
    The command line prints it and exits with code 2; Python callers catch it.
    """
