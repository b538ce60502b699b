class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one line: what is wrong, where, and what is allowed. Entry points print it without a traceback.
    """
