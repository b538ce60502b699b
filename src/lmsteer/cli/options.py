"""The plain options of every command, with their types; imports nothing heavy.

An option that is an object (``model``, ``steer``, ``solver``, …) is checked against the signature of its class.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from lmsteer.models.device_options import Device, Dtype

NonEmpty = Annotated[str, Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
FromZero = Annotated[int, Field(ge=0)]
FromOne = Annotated[int, Field(ge=1)]
FromTwo = Annotated[int, Field(ge=2)]


def _is_object(node: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(node.get("_target_"), str):
        raise ValueError("one of its choices, or a mapping with _target_ expected")
    return node


Object = Annotated[dict[str, Any], AfterValidator(_is_object)]
Objects = dict[str, Object]
"""Objects by name, each of which says what it is."""
Kind = Literal["states", "ridge", "procrustes", "legacy"]

COMMON: dict[str, Any] = {
    "run_dir": NonEmpty,
    "seed": Annotated[int, Field(ge=0, lt=2**63)],
    "device": Device,
    "dtype": Dtype,
    "size": dict[str, int | str],
    "cache": NonEmpty,
    "steer_file": NonEmpty,
}
"""Options that mean the same in every command that has them."""
OF_COMMAND: dict[str, dict[str, Any]] = {
    "annotate": {
        **dict.fromkeys(("runs", "answers"), NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)] | None),
        "rows": list[NonEmpty] | None,
        "pairs": list[list[NonEmpty]] | None,
        "form": Literal["pairs", "single"],
        "questions": list[NonEmpty] | dict[str, NonEmpty | None] | None,
        **dict.fromkeys(("n_prompts", "samples", "raters"), FromOne),
        "page_items": FromOne | None,
        **dict.fromkeys(("repeats", "swapped"), Annotated[float, Field(ge=0, le=0.5)]),
        "qualification": NonEmpty,
        **dict.fromkeys(("study", "entity"), NonEmpty | None),
        "exclude": list[NonEmpty],
        "ask_model": bool,
        "scorers": Objects,
        "wandb": Literal["auto", "none"],
        "project": NonEmpty,
    },
    "calibrate": {},
    "compose": {
        "steer_files": Annotated[list[NonEmpty], Field(min_length=1)],
        "names": list[NonEmpty] | None,
        "dummy": NonEmpty,
        "rank": int | None,
        "energy": float | None,
        "schedules": Objects,
        "logger": Objects,
    },
    "convert": {"checkpoint": NonEmpty, "names": list[NonEmpty] | None, "epsilon": float | None},
    "evaluate": {"generations": NonEmpty, "row": NonEmpty, "writer": str | None},
    "export": {
        "strength": Any,
        "out": NonEmpty,
        "form": Literal["checkpoint", "factors", "adapter", "gguf", "processor"],
        "rank": FromOne | None,
        "gguf_base": NonEmpty | None,
        "base_model": NonEmpty | None,
        "license": NonEmpty | None,
        "push": NonEmpty | None,
        "private": bool,
        "dry_run": bool,
    },
    "fetch": {**dict.fromkeys(("gemma", "accept_gemma_terms", "force"), bool), "run": list[NonEmpty]},
    "generate": {"steer_file": NonEmpty | None, "strength": Any, "samples": int, "batch_size": int},
    "highlight": {
        "file": NonEmpty,
        "dev": NonEmpty | None,
        "dimension": NonEmpty | None,
        "fixed": dict[str, Number] | None,
        "strength": Number,
        "against": Number | None,
        **dict.fromkeys(("spans", "span_tokens", "shown"), FromOne),
        "grid": list[Number],
        "decision": Literal["ratio", "rate", "mean"],
        "threshold": Number,
    },
    "interpret": {
        "dimension": NonEmpty,
        "part": Literal["test", "dev"] | None,
        "rows": FromTwo | None,
        **dict.fromkeys(("directions", "words"), FromOne),
        **dict.fromkeys(("contexts", "draws"), FromZero),
        "vocabulary": Literal["words", "all"],
    },
    "report": {
        "runs": NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)],
        **dict.fromkeys(("title", "against", "annotation", "speed", "entity", "group"), NonEmpty | None),
        **dict.fromkeys(("published", "wandb"), Literal["auto", "none"]),
        "rescore": dict[str, NonEmpty] | None,
        "project": NonEmpty,
    },
    "serve": {
        "steer_file": NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)],
        "gguf": NonEmpty | None,
        "strength": Any,
        "host": NonEmpty,
        "port": Annotated[int, Field(ge=0, le=65535)],
        "slots": Annotated[int, Field(ge=1, le=256)],
        "context": FromOne,
        "threads": FromOne | None,
    },
    "train": {
        "cache_gib": Annotated[float, Field(gt=0)],
        "objective": NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)] | None,
        "logger": Objects,
        "callbacks": Objects,
        "scheduler": Object | None,
    },
    "transfer": {
        "kind": Kind,
        "compared_kinds": list[Kind],
        "texts": NonEmpty | None,
        "rows": FromOne,
        "damping": Annotated[float, Field(ge=0)],
        "logger": Objects,
    },
}
"""Further options by command."""
