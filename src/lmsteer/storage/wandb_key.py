"""Find out whether W&B has a key, without importing it or asking for one."""

import os
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit


def has_key() -> bool:
    """Return whether W&B finds a key for its server without asking for one."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    netrc_file = os.environ.get("NETRC")
    try:
        entry = netrc(Path(netrc_file).expanduser() if netrc_file else None).authenticators(host)
    except (OSError, NetrcParseError):
        return False
    return entry is not None and bool(entry[2])
