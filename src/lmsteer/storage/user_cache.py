"""The user's cache folder, for files that can be fetched or computed again."""

import os
from pathlib import Path

import platformdirs

from lmsteer.errors import InputError


def cache_folder() -> Path:
    """Return ``$LMSTEER_CACHE``, or the platform's cache folder of the user.

    Raises:
        InputError: If the user has no home folder.
    """
    try:
        return Path(os.environ.get("LMSTEER_CACHE") or platformdirs.user_cache_path("lmsteer")).expanduser()
    except RuntimeError:
        raise InputError("cache: this user has no home folder; set LMSTEER_CACHE to a folder, or HOME") from None
