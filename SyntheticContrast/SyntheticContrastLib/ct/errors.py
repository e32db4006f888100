"""The one error that a user is meant to read."""


class InputError(ValueError):
    """Bad input. Its text is one clear line: what is wrong, and what to do about it. It names no patient."""
