"""Keep transformers from reporting the models that it loads."""

import os


def disable_conversion() -> None:
    """Keep transformers from posting the id of a model without safetensors files to a service that converts it.

    There is only an environment variable for it; a value that the user has set stays.
    """
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
