"""Optional packages: the extra of lmsteer that brings each of them, for one line where it is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from lmsteer.errors import InputError

OPTIONAL = {
    "datasets": ("datasets", "train"),
    "pyarrow": ("datasets", "train"),  # which brings it
    "hydra": ("hydra-core", "train"),
    "jinja2": ("jinja2", "train"),
    "markupsafe": ("markupsafe", "train"),
    "lightning_fabric": ("pytorch-lightning", "train"),
    "matplotlib": ("matplotlib", "train"),
    "omegaconf": ("omegaconf", "train"),
    "pandas": ("pandas", "train"),
    "pydantic": ("pydantic", "train"),
    "pytorch_lightning": ("pytorch-lightning", "train"),
    "scipy": ("scipy", "train"),
    "torchmetrics": ("torchmetrics", "train"),
    "yaml": ("pyyaml", "train"),
    "detoxify": ("detoxify", "score"),
    "profanity_check": ("alt-profanity-check", "score"),
    "sklearn": ("scikit-learn", "score"),
    "optuna": ("hydra-optuna-sweeper", "optuna"),
    "sqlalchemy": ("sqlalchemy", "optuna"),
    "submitit": ("hydra-submitit-launcher", "slurm"),
    "bitsandbytes": ("bitsandbytes", "quantized"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "wandb": ("wandb", "wandb"),
    "py3langid": ("py3langid", "behaviours"),
    "aiohttp": ("aiohttp", "serve"),
    "xllamacpp": ("xllamacpp", "serve"),
}
"""Distribution and extra by name of the imported package."""


class MissingExtraError(InputError, ImportError):
    """A package of an extra that is not installed.

    Args:
        user: What needs the package.
        package: Its name in ``OPTIONAL``.
    """

    def __init__(self, user: str, package: str) -> None:
        distribution, extra = OPTIONAL[package]
        super().__init__(f"{user} needs {distribution}; pip install 'lmsteer[{extra}]'")


def missing_extra(error: BaseException | None, user: str) -> MissingExtraError | None:
    """Return the error that names the extra, if an optional package that cannot be imported is behind an error.

    Args:
        error: The error; those that caused it are looked at too, as Hydra wraps failed imports.
        user: What needs the package, such as ``lmsteer train``.
    """
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name in OPTIONAL:
            return MissingExtraError(user, error.name)
        error = error.__cause__
    return None


@contextmanager
def explain_missing_extra(user: str) -> Iterator[None]:
    """Turn the failed import of an optional package into one line; other errors, and those of the user, pass.

    Args:
        user: What needs the package, such as ``lmsteer train``.

    Raises:
        MissingExtraError: If the package is not installed.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if explained := missing_extra(error, user):
            raise explained from error
        raise
