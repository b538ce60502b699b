"""Ask W&B whether it is logged in, as it decides by itself: no question on the terminal, no request to a server."""

from typing import Any


def is_logged_in() -> bool:
    """Return whether W&B finds credentials for its server: in variables, netrc or its files of settings.

    Malformed credentials count, as W&B refuses them by name when a run begins.
    """
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib import wbauth

    try:
        credentials = wbauth.authenticate_session(
            host=_settings().base_url, source="lmsteer", prompt=False, update_session=False
        )
    except AuthenticationError:
        return True
    return credentials is not None


def configured_mode() -> str:
    """Return the mode of W&B by ``WANDB_MODE`` or its files of settings; online if neither says otherwise."""
    return str(_settings().mode)


def _settings() -> Any:
    from wandb.sdk import wandb_setup  # ``wandb.setup`` would start W&B's own process

    return wandb_setup.singleton().settings
