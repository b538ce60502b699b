"""The user's cache folder, for files that can be fetched or computed again."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return ``$LMSTEER_CACHE``, or the platform's cache folder of the user."""
    return Path(os.environ.get("LMSTEER_CACHE") or platformdirs.user_cache_path("lmsteer")).expanduser()
