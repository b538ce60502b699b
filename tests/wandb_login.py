"""W&B's login, which it keeps for a process."""

from wandb.sdk import wandb_setup
from wandb.sdk.lib import wbauth


def forget_login() -> None:
    """Let W&B read variables, netrc and files of settings again, as a new process does."""
    wbauth.unauthenticate_session(update_settings=False)
    wandb_setup.singleton()._settings = None
