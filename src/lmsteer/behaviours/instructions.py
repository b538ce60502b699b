"""Instructions that ask a chat model for a behaviour, in several wordings for each of the four categories."""

from lmsteer.behaviours.behaviour import Behaviour
from lmsteer.behaviours.published_behaviours import find_behaviour
from lmsteer.errors import InputError

TEMPLATES = {
    "language": (
        "Write your reply in {language}.",
        "Please reply in {language} only.",
        "Give the answer in {language}, please.",
        "Your whole reply must be in {language}.",
        "I speak {language}, so answer me in {language}.",
        "Use {language} for every sentence of the reply.",
        "The reader knows no language but {language}, so write in it.",
        "Answer as a native speaker of {language} would, in {language}.",
        "Translate your answer into {language} and write only the translation.",
        "{native}",
    ),
    "words": (
        "Write between {minimum} and {maximum} words.",
        "Explain it in {minimum} to {maximum} words.",
        "Keep the reply to {minimum} to {maximum} words.",
        "I need an answer of {minimum} to {maximum} words.",
        "The length of your reply has to be {minimum}-{maximum} words.",
        "Count your words: {minimum} or more, and {maximum} or fewer.",
        "Limit yourself to {maximum} words, but write at least {minimum}.",
        "Reply with no fewer than {minimum} and no more than {maximum} words.",
        "Your reply must have at least {minimum} words and at most {maximum}.",
        "Aim for about {middle} words: {minimum} at least, {maximum} at most.",
    ),
    "case": (
        "Put every word in {case}.",
        "Reply in {case} only, {sample}.",
        "Type the reply in {case} ({sample}).",
        "Write your whole reply in {case}.",
        "Format the reply in {case}: {sample}.",
        "Your reply must be in {case} throughout.",
        "Give me the answer {sample}, in {case}.",
        "Use {case} from the first word to the last.",
        "Please answer in {case}, without an exception.",
        "No word of the reply may be in anything but {case}.",
    ),
    "sentences": (
        "Keep it to {count}.",
        "Sum it up in {count}.",
        "Explain it in {count}.",
        "Use {count} to answer.",
        "Limit the reply to {count}.",
        "Reply in exactly {count}.",
        "Give me the answer as {count}.",
        "The reply is to have {count}.",
        "Your reply must consist of {count}.",
        "Write {count}, no more and no fewer.",
    ),
}
"""Wordings by category; the words in braces are those of ``_values``."""
LANGUAGES = {
    "de": ("German", "Antworte bitte auf Deutsch."),
    "en": ("English", "Please answer in English."),
    "es": ("Spanish", "Responde en español, por favor."),
    "fr": ("French", "Réponds en français, s'il te plaît."),
    "it": ("Italian", "Rispondi in italiano, per favore."),
    "pt": ("Portuguese", "Responda em português, por favor."),
}
"""By code the name of a language, and an instruction in it."""
CASES = {
    "lower": ("lowercase letters", "like this"),
    "upper": ("UPPERCASE LETTERS", "LIKE THIS"),
    "title": ("Title Case", "Like This"),
}
NUMBERS = ("zero", "one", "two", "three", "four", "five")


def count(name: str) -> int:
    """Return the number of instructions for a published behaviour.

    Raises:
        InputError: If there is no such behaviour.

    Example:
        >>> count("case-upper")
        10
    """
    return len(instructions_for(find_behaviour(name)))


def instruction(name: str, index: int) -> str:
    """Return an instruction that asks for a published behaviour.

    Args:
        index: Number of the wording, from 0; numbers beyond the last one begin again.

    Raises:
        InputError: If there is no such behaviour.

    Example:
        >>> instruction("words-10-50", 0), instruction("sentences-1", 5)
        ('Write between 10 and 50 words.', 'Reply in exactly one sentence.')
    """
    wordings = instructions_for(find_behaviour(name))
    return wordings[index % len(wordings)]


def instructions_for(behaviour: Behaviour) -> tuple[str, ...]:
    """Return the instructions of a behaviour: its own, or those of its category.

    Raises:
        InputError: If it has none and is of none of the four categories.

    Example:
        >>> from lmsteer.behaviours.word_count import word_count
        >>> instructions_for(word_count(minimum=5, maximum=9))[1]
        'Explain it in 5 to 9 words.'
    """
    if behaviour.instructions:
        return behaviour.instructions
    category, *options = behaviour.name.split("-")
    if category != behaviour.category or category not in TEMPLATES:
        raise InputError(f"behaviour {behaviour.name}: it has no instructions; give it some, as instructions=[…]")
    values = _values(category, options)
    return tuple(template.format(**values) for template in TEMPLATES[category])


def ask(question: str, *instructions: str) -> str:
    """Return a question with the instructions after it, as one turn of the user.

    Example:
        >>> ask("Why is the sky blue?", instruction("case-upper", 0))
        'Why is the sky blue? Put every word in UPPERCASE LETTERS.'
    """
    return " ".join([question, *instructions])


def _values(category: str, options: list[str]) -> dict[str, str | int]:
    """Return the words of the templates for the options in the name of a behaviour."""
    if category == "language":
        language, native = LANGUAGES[options[0]]
        return {"language": language, "native": native}
    if category == "case":
        case, sample = CASES[options[0]]
        return {"case": case, "sample": sample}
    if category == "words":
        minimum, maximum = map(int, options)
        return {"minimum": minimum, "maximum": maximum, "middle": (minimum + maximum) // 2}
    number = int(options[0])
    in_words = NUMBERS[number] if number < len(NUMBERS) else str(number)
    return {"count": f"{in_words} sentence{'s' * (number != 1)}"}
