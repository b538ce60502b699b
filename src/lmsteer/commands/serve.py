"""Serve a model with steers over HTTP: OpenAI's routes, with strengths by name in each request.

python -m src.serve steer_file=RUN/steer.safetensors
"""

import contextlib
import ipaddress
import logging
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.preparation import prepare
from lmsteer.cli.shared_objects import model_node
from lmsteer.cli.terminal import show
from lmsteer.commands.generate import named_strength
from lmsteer.embedded.archives import GGUF, embedded_file
from lmsteer.embedded.gemma import join_gemma_gguf
from lmsteer.errors import InputError
from lmsteer.export.gguf_base import read_gguf
from lmsteer.serving.engine_files import load_steers, write_engine_files
from lmsteer.serving.llama_cpp_engine import API_KEY, Engine, EngineOptions, running_llama_cpp
from lmsteer.serving.request_strengths import STEER, RequestStrengths
from lmsteer.serving.steer_proxy import STEERS_ROUTE, SteerProxy
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer

logger = logging.getLogger(__name__)
EMBEDDED_GGUF: dict[str, Callable[[Path], Path]] = {
    "lmsteer.models.load.smollm2": lambda _: embedded_file(GGUF),
    "lmsteer.models.load.gemma_3_270m": join_gemma_gguf,
}
"""GGUF files of embedded models, by what builds the model; the argument is a folder for files that are put together."""


def serve(cfg: DictConfig) -> None:
    """Answer requests until the process is interrupted or terminated."""
    config = check_config(cfg, OF_COMMAND["serve"])
    refuse_unused_options(config["model"])
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        listener = stack.enter_context(listen(config["host"], config["port"]))
        files = config["steer_file"]
        paths = [Path(path) for path in ([files] if isinstance(files, str) else files)]
        steer, provenance = load_steers(paths)
        strengths = RequestStrengths.of(steer, named_strength(config["strength"], steer))
        with tempfile.TemporaryDirectory(prefix="lmsteer-") as folder:  # llama.cpp holds what it has loaded
            engine = stack.enter_context(start_engine(config, paths, steer, strengths, Path(folder)))
        show_address(listener, engine, strengths)
        SteerProxy(engine.address, strengths, provenance.meaning).run(listener)


def start_engine(
    config: dict[str, Any], paths: Sequence[Path], steer: Steer, strengths: RequestStrengths, folder: Path
) -> AbstractContextManager[Engine]:
    """Write what llama.cpp loads into a folder; the language model is loaded only for that.

    Raises:
        InputError: If the steer is of another model, or the GGUF file cannot be its base.
    """
    gguf = gguf_file(config, folder)
    reader = read_gguf(gguf)
    prepare(config, ("model",))
    model = build(model_node(config))
    load_steer(paths[0], model)  # refuses one of another model
    files = write_engine_files(folder, model, steer, gguf, reader)
    options = EngineOptions(
        slots=config["slots"], context=min(config["context"], files.context), threads=config["threads"]
    )
    adapters = dict(zip(files.adapters, strengths.defaults.values(), strict=True))
    page = {STEER: dict(strengths.defaults)}
    return running_llama_cpp(files.base, adapters, options, name=model.name, page=page)


def refuse_unused_options(model: Mapping[str, Any]) -> None:
    """Refuse options of the body, which is that of the GGUF file, and of questions, whose chat template is there too.

    Raises:
        InputError: Naming the option.
    """
    if model.get("quantization") is not None:
        raise InputError(f"model.quantization={model['quantization']}: the GGUF file decides it here; leave it out")
    for name, default in {"chat": "auto", "system": None}.items():
        if model.get(name, default) != default:
            raise InputError(
                f"model.{name}={model[name]}: requests decide it here; those to /v1/completions are plain texts, "
                "those to /v1/chat/completions bring a message of the system"
            )


def gguf_file(config: dict[str, Any], folder: Path) -> Path:
    """Return the GGUF file of the model: the one that is given, or that of an embedded model.

    Raises:
        InputError: If none is given and the model is none of the embedded ones.
    """
    if config["gguf"] is not None:
        return Path(config["gguf"])
    if (embedded := EMBEDDED_GGUF.get(config["model"]["_target_"])) is None:
        raise InputError(
            "gguf=null: only embedded models bring a GGUF file; gguf=MODEL.gguf expected, as convert_hf_to_gguf.py of "
            "llama.cpp writes it"
        )
    return embedded(folder)


def listen(host: str, port: int) -> socket.socket:
    """Take a port before anything slow is done; clients wait until requests are answered.

    Raises:
        InputError: If the host is unknown or the port is not to be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address, family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"host={host}, port={port}: {reason}; port=0 takes any free one") from error
    if not ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback:
        logger.warning(
            "host=%s: whoever reaches this machine may use the server, over plain HTTP; a key in the environment "
            "variable %s is asked for where it is set",
            host,
            API_KEY,
        )
    return listener


def show_address(listener: socket.socket, engine: Engine, strengths: RequestStrengths) -> None:
    """Print what is served and where."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    defaults = ", ".join(f"{name} {value:+g}" for name, value in strengths.defaults.items())
    options, first = engine.options, next(iter(strengths.defaults))
    show(f"{engine.model} from {engine.base.name}: {options.slots} requests of {options.context} tokens at once")
    show(f"strengths of a request that gives none: {defaults} ({url}{STEERS_ROUTE})")
    show(f'{url} is a page to chat; OpenAI clients take {url}/v1, with "steer": {{"{first}": 3}}; Ctrl-C ends')
