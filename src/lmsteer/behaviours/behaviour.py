"""The one class of behaviours: a name, a category and a function that verifies a text."""

from collections.abc import Callable
from dataclasses import dataclass, field

from lmsteer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """A property that a text has or lacks, such as its language.

    Args:
        name: Name in tables.
        category: Behaviours of one category exclude each other, or nearly so; combinations are across categories.
        verify: Function of a text: whether the text has the property. It is deterministic.
        revision: Version of the rule. Stored scores are looked up by it, so change it with the function.
        instructions: Wordings that ask a chat model for it, each a sentence. Behaviours of the four published
            categories have some without these.

    Raises:
        InputError: If the name or the category is empty or has white space or ``@``, or an instruction is blank.

    Example:
        >>> question = Behaviour(name="question", category="form", verify=lambda text: text.endswith("?"))
        >>> question.verify("Is it late?")
        True
    """

    name: str
    category: str
    verify: Callable[[str], bool] = field(compare=False)
    revision: str = "1"
    instructions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option in ("name", "category"):
            value = getattr(self, option)
            if not value or "@" in value or value.split() != [value]:
                raise InputError(f"behaviour: {option}={value!r}; a word without white space and @ expected")
        object.__setattr__(self, "instructions", tuple(self.instructions))  # a configuration has lists
        if not all(isinstance(text, str) and text.strip() for text in self.instructions):
            raise InputError(f"behaviour {self.name}: instructions={list(self.instructions)}: texts expected")
