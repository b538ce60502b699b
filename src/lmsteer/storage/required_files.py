"""Files from elsewhere that classes and functions need before they can be built, as these declare them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

ATTRIBUTE = "__required_files__"
Target = TypeVar("Target")


class RequiredFiles(Protocol):
    """Files from elsewhere: a repository of the hub, a file at an address, archives of the package index."""

    only_fetched: ClassVar[bool]
    """Whether only the command ``fetch`` downloads them."""

    @property
    def label(self) -> str:
        """Kind and name, such as ``model openai-community/gpt2``."""
        ...

    @property
    def storage(self) -> Path:
        """Folder on whose disk they are."""
        ...

    @property
    def can_change(self) -> bool:
        """Whether there may be a newer version under the same name."""
        ...

    def is_cached(self) -> bool:
        """Return whether all of them are on this machine, without asking anybody."""
        ...

    def size(self) -> int | None:
        """Return the number of bytes to download; None: unknown.

        Raises:
            InputError: If they do not exist, are not accessible, or the server does not answer.
        """
        ...

    def fetch(self, *, force: bool = False) -> object:
        """Download what is missing; with ``force`` look for a newer version too.

        Raises:
            InputError: As ``size`` does, or if a download fails.
        """
        ...

    def record(self) -> dict[str, Any]:
        """Return their version and names, as far as they are known; called once they are cached."""
        ...


def requires(declare: Callable[..., Iterable[RequiredFiles]]) -> Callable[[Target], Target]:
    """Let a class or function declare the files that it needs.

    Args:
        declare: Called with the options of the class or function by name; those that are objects may be missing.

    Example:
        >>> @requires(lambda path=None, **_: [] if path else ["published file"])
        ... def prompts(*, path=None): ...
        >>> required_by(prompts, {"path": None}), required_by(prompts, {"path": "mine.jsonl"})
        (['published file'], [])
    """

    def mark(target: Target) -> Target:
        setattr(target, ATTRIBUTE, declare)
        return target

    return mark


def required_by(target: object, options: Mapping[str, Any]) -> list[RequiredFiles]:
    """Return the files that a class or function declares to need with these options."""
    declare: Callable[..., Iterable[RequiredFiles]] | None = getattr(target, ATTRIBUTE, None)
    return [] if declare is None else list(declare(**options))
