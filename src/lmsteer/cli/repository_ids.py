"""A repository that is named on the command line has neither the name nor the commit of the preset it replaces."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf, open_dict

OF_PRESET = ("name", "revision")
"""Options of a preset that belong to its id."""


def follow_ids(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Unset name and revision next to every overridden ``id``, unless they are overridden too.

    Args:
        overrides: Overrides of the command line, such as ``model.id=ORG/NAME``.

    Example:
        >>> cfg = OmegaConf.create({"model": {"id": "me/mine", "name": "gpt2", "revision": None}})
        >>> follow_ids(cfg, ["model.id=me/mine"])
        >>> cfg.model.name is None
        True
    """
    keys = {override.lstrip("+").partition("=")[0] for override in overrides}
    for key in keys:
        parent, _, option = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent and option == "id" else None
        if not isinstance(node, DictConfig):
            continue
        for name in OF_PRESET:
            if name in node and f"{parent}.{name}" not in keys:
                with open_dict(node):
                    node[name] = None
