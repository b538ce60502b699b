"""Export a steer: folded into a checkpoint, as adapters or a processor for other engines, or alone, with a model card.

python -m src.export steer_file=RUN/steer.safetensors strength=5 out=FOLDER
"""

from pathlib import Path
from typing import Any

from gguf import GGUFReader
from omegaconf import DictConfig

from lmsteer.cli.configuration import build, check_config
from lmsteer.cli.options import OF_COMMAND
from lmsteer.cli.terminal import show
from lmsteer.commands.generate import named_strength
from lmsteer.errors import InputError
from lmsteer.export.exporter import Export
from lmsteer.export.gguf_base import check_same_model, copy_with_output, read_tied_gguf
from lmsteer.export.hub_upload import HubUpload, folder_files
from lmsteer.reporting.text import file_size, terminal_table
from lmsteer.storage.atomic_files import is_complete

HEADINGS = ("dimension", "file", "rank", "size", "share kept", "largest difference of a logit")


def export(cfg: DictConfig) -> Path:
    """Write the export folder and print its path."""
    config = check_config(cfg, OF_COMMAND["export"])
    folder, form = Path(config["run_dir"]), config["form"]
    _check_form(config)
    upload = _checked_upload(config)
    gguf_base = None if config["gguf_base"] is None else Path(config["gguf_base"])
    tied = read_tied_gguf(gguf_base) if gguf_base else None  # refused before a model is loaded
    model = build(config["model"], device=config["device"], dtype=config["dtype"])
    if gguf_base and tied:
        check_same_model(tied, gguf_base, model)
    exported = Export(
        model,
        Path(config["steer_file"]),
        base_model=config["base_model"] or "",
        license=config["license"] or "",
    )
    strength = named_strength(config["strength"], exported.steer)
    if form == "checkpoint":
        exported.checkpoint(folder, strength)
    elif form == "factors":
        exported.factors(folder)
    else:
        parts = exported.attached(form, folder, strength, rank=config["rank"])
        cells = [(p.dimension, p.path, str(p.rank), p.size, f"{p.kept:.4f}", f"{p.error:.2g}") for p in parts]
        show(terminal_table(HEADINGS, cells))
    if gguf_base and tied:
        _write_base(tied, gguf_base, folder)
    show(f"{form} of {exported.steer_file} for {model.name}: {folder}")
    if upload:
        _push(upload, folder, dry_run=config["dry_run"])
    return folder


def _checked_upload(config: dict[str, Any]) -> HubUpload | None:
    """Return where the folder goes, once the hub is known to be ready for it; None: nowhere.

    Raises:
        InputError: As ``HubUpload`` and its ``check``, or if an option is there without ``push``.
    """
    if config["push"] is None:
        for option, default in (("private", True), ("dry_run", False)):
            if config[option] is not default:
                raise InputError(f"{option}={str(not default).lower()}: only with push=ORG/NAME; leave it out")
        return None
    upload = HubUpload(config["push"], private=config["private"])
    if not config["dry_run"]:
        upload.check()
    return upload


def _push(upload: HubUpload, folder: Path, *, dry_run: bool) -> None:
    """List the files of a folder, and upload them unless it is a dry run."""
    files = folder_files(folder)
    total = file_size(sum(size for _, size in files))
    show(terminal_table(("file", "bytes"), [(name, f"{size:,}") for name, size in files]))
    if dry_run:
        kind = "private" if upload.private else "public"
        show(f"dry run: {total} would go to {upload.page}, {kind} if it is new; nothing was sent")
        return
    show(f"uploading {total} to {upload.page}")
    show(f"uploaded: {upload.upload(folder)}")


def _check_form(config: dict[str, Any]) -> None:
    form = config["form"]
    if form == "factors" and config["strength"] is not None:
        raise InputError(f"strength={config['strength']}: form=factors keeps every strength; leave strength out")
    if config["rank"] is not None and form in ("checkpoint", "factors"):
        raise InputError(f"rank={config['rank']}: only for form=adapter, gguf and processor; src.compose cuts a steer")
    if config["gguf_base"] is not None and form != "gguf":
        raise InputError(f"gguf_base={config['gguf_base']}: only for form=gguf; leave it out")


def _write_base(reader: GGUFReader, source: Path, folder: Path) -> None:
    """Write a copy of a GGUF model that has output embeddings, unless it is there already."""
    target = folder / f"{source.stem}-untied.gguf"
    if not is_complete(target):
        copy_with_output(reader, target)
    show(f"base model with output.weight: {target}")
