"""Artifacts of W&B: a steer, with the corpus or the steers that it was made of as inputs of its run.

Their names end in a digest of their content, so that each content is one artifact, whichever run has logged it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmsteer.errors import InputError
from lmsteer.methods.method_file import load_controller, method_name
from lmsteer.steering.dimensions import DUMMY
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.steer_location import locate_steer

LONGEST_NAME = 128
FACTS = ("name", "digest", "source")
"""What is logged of a corpus: its name, and digests of its rows and of those that they were drawn from. No text."""


def log_steer(run: Any, path: Path, *, parents: Sequence[Path] = (), link: str | None = None) -> None:
    """Log a steer file as the output of a run, and what it was made of as its inputs.

    Inputs need a server: an offline run has their names and digests in the metadata of the steer alone.

    Args:
        run: A run of W&B.
        parents: Files of the steers that it was made of. Empty: it was fitted on a corpus.
        link: Collection to which the steer is linked. None: none.

    Raises:
        InputError: If W&B refuses an artifact or the link.
    """
    if run.disabled:
        return
    steer, provenance = steer_artifact(path)
    inputs = list(_inputs(provenance, parents))
    steer.metadata["inputs"] = {artifact.name: artifact.digest for artifact in inputs}
    try:
        for artifact in () if run.offline else inputs:
            run.use_artifact(artifact)
        logged = run.log_artifact(steer)
        if link:
            run.link_artifact(logged, link)
    except Exception as error:  # its own errors have no common base
        reason = (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
        raise InputError(
            f"logger=wandb: artifact {steer.name}: {reason}; set WANDB_MODE=offline, or logger=csv or none"
        ) from error


def steer_artifact(path: Path, *, copies: bool = True) -> tuple[Any, Provenance]:
    """Wrap the file of a steer or of another method, with digests of its sources; return its provenance too.

    Args:
        copies: W&B takes a copy of the file now, which may change before an offline run is uploaded.
    """
    import wandb

    path = locate_steer(path)
    controller, provenance = load_controller(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    attributes = (name for name in controller.dimensions if name != DUMMY)
    metadata = {
        "steer": {"sha256": digest, "seed": provenance.seed},
        "model": {"name": provenance.model, "fingerprint": provenance.fingerprint},
        "corpus": {key: provenance.corpus.get(key) for key in FACTS},
    }
    name = _name(method_name(controller), *attributes, provenance.model, digest=digest)
    artifact = wandb.Artifact(name, type="steer", metadata=metadata)
    artifact.add_file(str(path), policy="mutable" if copies else "immutable")
    return artifact, provenance


def corpus_artifact(corpus: Mapping[str, Any]) -> Any:
    """Describe a corpus by its name and digests; none of its texts leaves this machine."""
    import wandb

    facts = {key: str(corpus[key]) for key in FACTS if corpus.get(key)}
    artifact = wandb.Artifact(_name("corpus", facts["name"], digest=facts["digest"]), type="corpus", metadata=facts)
    with artifact.new_file("corpus.json", encoding="utf-8", policy="immutable") as file:
        json.dump(facts, file, indent=1, sort_keys=True)
    return artifact


def _inputs(provenance: Provenance, parents: Sequence[Path]) -> Iterator[Any]:
    """Yield the steers that a steer was made of and the texts that were read for it, or the corpus of its fit."""
    for parent in parents:
        yield steer_artifact(parent, copies=False)[0]
    corpus = provenance.derivation.get("texts") if parents else provenance.corpus
    if corpus and corpus.get("name") and corpus.get("digest"):
        yield corpus_artifact(corpus)


def _name(*words: str, digest: str) -> str:
    """Join words with the beginning of a digest to a name that W&B accepts."""
    end = f"-{digest[:12]}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words))[: LONGEST_NAME - len(end)] + end
