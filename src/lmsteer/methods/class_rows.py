"""The two classes of labeled rows."""

from collections.abc import Sequence

from lmsteer.errors import InputError
from lmsteer.records import Row


def require_classes(rows: Sequence[Row], name: str) -> tuple[list[Row], list[Row]]:
    """Split rows by the sign of their labels.

    Raises:
        InputError: If one of the two is empty; ``name`` is that of the method.
    """
    positive = [row for row in rows if row.label > 0]
    negative = [row for row in rows if row.label < 0]
    if not positive or not negative:
        raise InputError(
            f"method={name}: {len(positive)} train rows with a label above 0 and {len(negative)} below; "
            "rows of both classes expected"
        )
    return positive, negative
