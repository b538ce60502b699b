"""Load language models from the hub, a local folder or the embedded cache."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lmsteer.embedded.archives import smollm2_folder
from lmsteer.embedded.gemma import gemma_folder
from lmsteer.embedded.required_archives import GEMMA_MODEL, SMOLLM2
from lmsteer.errors import InputError
from lmsteer.models.chat import Chat
from lmsteer.models.device_options import AUTOMATIC, Device, DeviceMap, Dtype, Quantization
from lmsteer.storage.hub_errors import LONGEST_REASON
from lmsteer.storage.hub_repository import HubRepository, Snapshot
from lmsteer.storage.required_files import requires

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lmsteer.models.language_model import LanguageModel

INSTEAD = "a hub id (ORG/NAME), a local folder (model=hf model.id=FOLDER), or model=smollm2, which needs no hub"


def _repository(id: str, revision: str | None) -> HubRepository:
    return HubRepository(id, revision=revision, instead=INSTEAD)


@requires(lambda *, id, revision=None, **_: [_repository(id, revision)])
def load_model(
    id: str,
    *,
    revision: str | None = None,
    name: str | None = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    device_map: DeviceMap = None,
    max_memory: dict[int | str, int | str] | None = None,
    quantization: Quantization = None,
    chat: Chat = "auto",
    system: str | None = None,
) -> LanguageModel:
    """Load any causal LM of transformers.

    A commit in the hub's cache is used without a request; what is missing there is downloaded, of weights one format.

    Args:
        id: Hub id (``ORG/NAME``) or local folder in the hub's layout.
        revision: Branch, tag or commit on the hub.
        name: Name of the model in files and tables; by default the id, or the name of the folder.
        device_map: How transformers spreads a model that fits on no device over GPUs, main memory and disk: "auto", or
            the location of each module. Weights on disk are read from the model's files.
        max_memory: Memory of each location that an automatic map such as "auto" may use, for instance "20GiB".
        quantization: How bitsandbytes quantizes the linear modules of the layers: "4bit" (NF4) or "8bit" (LLM.int8()).
            The name ends in it. None: they stay as their files are, which may be quantized themselves.
        chat: Whether questions are asked in the model's chat template ("auto") or in plain text ("off").
        system: Message of the system before questions. None: none is added to the template's own.

    Raises:
        InputError: If the model is unknown, gated or private, the hub is out of reach, it is not a causal LM, or its
            files lack weights; if the map does not fit model or machine, or a device is given too.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from lmsteer.models.random_models import tiny
        >>> with TemporaryDirectory() as folder:
        ...     _ = tiny().lm.save_pretrained(folder), tiny().tokenizer.save_pretrained(folder)
        ...     load_model(folder, name="mine").width
        32
    """
    # Imported here, so that a wrong option is refused without them.
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    from lmsteer.models.device import resolve_device, resolve_dtype, resolve_map
    from lmsteer.models.device_map import split_tied_weights
    from lmsteer.models.language_model import LanguageModel
    from lmsteer.models.memory import check_weights, weight_bytes
    from lmsteer.models.quantization import quantization_options

    main_device = resolve_device(device) if device_map is None else resolve_map(device_map, device)
    precision = resolve_dtype(dtype, main_device)
    map_options = {} if device_map is None else {"device_map": device_map, "max_memory": max_memory}
    transformers_logging.disable_progress_bar()
    if max_memory is not None and device_map not in AUTOMATIC:
        raise InputError(f"model.max_memory={max_memory}: only for an automatic map; model.device_map=auto")
    snapshot = _repository(id, revision).fetch()
    source = str(snapshot.folder)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        quantized = quantization_options(quantization, config, model=id, dtype=precision, device=main_device)
        needed = weight_bytes(config, precision) if device_map is None and not quantized else 0
        check_weights(needed, precision, main_device, name=name or id)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        lm = _complete_lm(id, source, dtype=precision, **(quantized | map_options))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise InputError(f"model {id} cannot be loaded ({reason}); allowed are {INSTEAD}") from error
    if pair := split_tied_weights(lm):
        raise InputError(f"model.device_map: {' and '.join(pair)} are one tensor; one location for both expected")
    name = (name or _default_name(id, snapshot)) + (f"-{quantization}" if quantization else "")
    device_of_all = main_device if device_map is None and not quantized else None
    return LanguageModel(
        lm, tokenizer, name=name, device=device_of_all, commit=snapshot.commit, chat=chat, system=system
    )


def _default_name(id: str, snapshot: Snapshot) -> str:
    return id if snapshot.commit else snapshot.folder.name


def _complete_lm(id: str, source: str, **options: Any) -> PreTrainedModel:
    """Load a causal LM whose files hold every parameter; transformers draws those that are missing at random.

    Buffers may be missing, as they are computed; weights tied to others are not among the missing keys.

    Raises:
        InputError: If a parameter is missing.
    """
    from transformers import AutoModelForCausalLM

    with _no_report_of_missing_keys():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source, trust_remote_code=False, output_loading_info=True, **options
        )
    lm: PreTrainedModel
    lm, report = loaded
    lm.name_or_path = lm.config._name_or_path = id  # not the folder of a commit in the hub's cache
    parameters = (name for name, _ in lm.named_parameters(remove_duplicate=False))
    if missing := sorted(set(report["missing_keys"]).intersection(parameters)):
        names = ", ".join(missing[:3]) + f" and {len(missing) - 3} more" * (len(missing) > 3)
        raise InputError(
            f"model {id}: its files lack {names}, so it is no trained {type(lm).__name__}; "
            "a checkpoint of a causal LM with all weights expected"
        )
    return lm


@contextmanager
def _no_report_of_missing_keys() -> Iterator[None]:
    """Keep transformers from printing a table of what is refused in one line."""
    logger = logging.getLogger("transformers.modeling_utils")

    def passes(record: logging.LogRecord) -> bool:
        return "MISSING" not in record.getMessage()

    logger.addFilter(passes)
    try:
        yield
    finally:
        logger.removeFilter(passes)


@requires(lambda **_: [SMOLLM2])
def smollm2(
    *,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantization: Quantization = None,
    chat: Chat = "auto",
    system: str | None = None,
) -> LanguageModel:
    """Load SmolLM2-135M-Instruct of the embedded stack, without the hub.

    Raises:
        InputError: If the embedded stack has not been fetched.

    Example:
        >>> smollm2().width  # doctest: +SKIP
        576
    """
    return load_model(
        str(smollm2_folder()),
        name="smollm2",
        device=device,
        dtype=dtype,
        quantization=quantization,
        chat=chat,
        system=system,
    )


@requires(lambda **_: [GEMMA_MODEL])
def gemma_3_270m(
    *, device: Device = "auto", dtype: Dtype = "auto", chat: Chat = "auto", system: str | None = None
) -> LanguageModel:
    """Load Gemma 3 270M without the hub; it must be fetched explicitly, as it has its own terms.

    Raises:
        InputError: If it has not been fetched.
    """
    name = "gemma-3-270m-embedded"
    return load_model(str(gemma_folder()), name=name, device=device, dtype=dtype, chat=chat, system=system)
