"""Where files that can be fetched or computed again are kept: the cache folder of the user."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """``$LMSTEER_CACHE``, else the user's cache folder of the platform."""
    return Path(os.environ.get("LMSTEER_CACHE") or platformdirs.user_cache_path("lmsteer")).expanduser()
