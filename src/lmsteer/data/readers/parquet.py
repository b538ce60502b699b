"""Rows of parquet files, with the names of their classes where the file has them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.extras import explain_missing_extra
from lmsteer.records import refuse_repeated_names

ROWS_PER_READ = 1000


def read_parquet(path: Path, *, class_names: bool = False) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (row number from 1, values by column) of each row.

    Args:
        class_names: Give the name of a class for its number, where ``datasets`` wrote the file with names.

    Raises:
        InputError: If it is no parquet file, or a column is named twice.
    """
    with explain_missing_extra(f"{path}"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            refuse_repeated_names(schema.names, str(path))
            names = _noted_classes(schema.metadata or {}) if class_names else {}
            number = 0
            for batch in file.iter_batches(batch_size=ROWS_PER_READ):
                for row in batch.to_pylist():
                    number += 1
                    yield number, with_class_names(row, names)
    except pa.ArrowException as error:
        raise InputError(f"cannot read {path}: {' '.join(str(error).split())}; a parquet file expected") from error


def _noted_classes(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of classes by column, as ``datasets`` notes them; files of other programs have none."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def with_class_names(row: dict[str, object], names: Mapping[str, list[str]]) -> dict[str, object]:
    """Return a row with the names of classes for their numbers; other numbers, such as -1 for hidden labels, stay.

    Example:
        >>> with_class_names({"text": "Fine.", "label": 1}, {"label": ["negative", "positive"]})
        {'text': 'Fine.', 'label': 'positive'}
    """
    named = dict(row)
    for column, classes in names.items():
        value = row.get(column)
        if isinstance(value, int) and 0 <= value < len(classes):
            named[column] = classes[value]
    return named
