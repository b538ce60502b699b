"""Several steers of one model as one steer, and a steer cut to a lower rank.

Shapes: D width, K dimensions, R rank (D for a full steer).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lmsteer.errors import InputError
from lmsteer.steering.interference import interference
from lmsteer.steering.steer import DUMMY, Factors, Steer, product
from lmsteer.steering.steer_file import Provenance, load_steer

SUM, NONE = "sum", "none"
"""What may become of the dummies, beside keeping that of one attribute."""
VERSIONS_OF = ("lmsteer", "torch")


def compose(steers: Sequence[Steer], *, names: Sequence[str] | None = None, dummy: str = SUM) -> Steer:
    """One steer with the attributes of several, ``h + epsilon sum_k v_k h P1_k P2_k^T`` (Han et al., 2024: steers add).

    Each matrix keeps its own factors. Adding factors, ``h (sum P1_k) (sum P2_k)^T``, would bring in the products of one
    steer's P1 with another's P2, which no one has learned. Factors are padded with zero columns to the largest rank;
    where one steer is full, or the columns are more than D, the result is full. Its epsilon is that of the first steer;
    another one's goes into its P1, so that every strength still means what it meant.

    Args:
        steers: Steers of one model.
        names: New names of all attributes, in order; None: the old ones.
        dummy: What becomes of the dummies: ``sum`` adds their matrices, ``none`` leaves them out, and the (new) name of
            an attribute keeps the one that was learned with it.

    Returns:
        The attributes in order, the dummy last, if there is one; on the CPU.

    Raises:
        InputError: If there is no attribute, widths differ, names repeat or are not as many, or no such dummy is there.
    """
    if len({steer.width for steer in steers}) > 1:
        raise InputError(f"steers of widths {', '.join(str(steer.width) for steer in steers)}: one width expected")
    steers = [steer.with_epsilon(steers[0].epsilon) for steer in steers]
    owners = [(steer, k) for steer in steers for k in steer.attributes]
    chosen = dict(zip(new_names([steer.dimensions[k] for steer, k in owners], names), owners, strict=True))
    parts = {name: _on_cpu(steer.factors(k)) for name, (steer, k) in chosen.items()}
    biases = {name: None if steer.bias is None else steer.bias[k].detach().cpu() for name, (steer, k) in chosen.items()}
    dummies = [
        (steer, steer.dimensions.index(DUMMY))
        for steer in _dummies(steers, {name: steer for name, (steer, _) in chosen.items()}, dummy)
    ]
    if dummies:
        parts[DUMMY] = added([_on_cpu(steer.factors(k)) for steer, k in dummies])
        of_dummies = [steer.bias[k].detach().cpu() for steer, k in dummies if steer.bias is not None]
        biases[DUMMY] = sum(of_dummies, torch.zeros(steers[0].width))
    some = any(steer.bias is not None for steer in steers)
    return Steer.from_factors(parts, epsilon=steers[0].epsilon, biases=biases if some else None)


def _on_cpu(part: Factors) -> Factors:
    p1, p2 = part
    return p1.cpu(), None if p2 is None else p2.cpu()


def new_names(found: Sequence[str], names: Sequence[str] | None) -> list[str]:
    """The names that attributes ``found`` shall have.

    Raises:
        InputError: If there are none, they repeat, are empty or that of the dummy, or ``names`` are not as many.
    """
    if not found:
        raise InputError("nothing to compose: one or more steers with an attribute expected")
    if names is not None and len(names) != len(found):
        raise InputError(f"names={list(names)}: {len(found)} expected, one for each of {', '.join(found)}")
    chosen = list(found if names is None else names)
    if "" in chosen or DUMMY in chosen:
        raise InputError(f"names={chosen}: an attribute's name is not empty, and not {DUMMY!r}")
    if len(set(chosen)) < len(chosen):
        other = [f"{name}-{chosen[: place + 1].count(name)}" for place, name in enumerate(chosen)]
        raise InputError(
            f"attributes {', '.join(chosen)}: distinct names expected; give new ones, as in names=[{','.join(other)}]"
        )
    return chosen


def _dummies(steers: Sequence[Steer], owners: Mapping[str, Steer], dummy: str) -> list[Steer]:
    """Steers whose dummies are kept; ``owners`` are the steers that the attributes come from."""
    if dummy in owners:
        if DUMMY not in owners[dummy].dimensions:
            raise InputError(f"dummy={dummy}: the steer of {dummy} has no dummy; {SUM} or {NONE} expected")
        return [owners[dummy]]
    if dummy not in (SUM, NONE):
        raise InputError(f"dummy={dummy}: {SUM}, {NONE} or one of the attributes {', '.join(owners)} expected")
    return [steer for steer in steers if dummy == SUM and DUMMY in steer.dimensions]


def added(parts: Sequence[Factors]) -> Factors:
    """Factors of the sum of matrices: columns side by side, ``[P1 P1'] [P2 P2']^T = P1 P2^T + P1' P2'^T``."""
    all_p2 = [p2 for _, p2 in parts if p2 is not None]
    if len(all_p2) < len(parts):
        return torch.stack([product(part) for part in parts]).sum(0), None
    return torch.cat([p1 for p1, _ in parts], dim=1), torch.cat(all_p2, dim=1)


def kept_energy(steer: Steer, reduced: Steer) -> dict[str, float]:
    """Share of each matrix's squared Frobenius norm that a truncated steer holds, by dimension."""
    before, after = (
        [own.directions(k).sizes_R.square().sum().item() for k in range(len(steer.dimensions))]
        for own in (steer, reduced)
    )
    return {name: b / a for name, a, b in zip(steer.dimensions, before, after, strict=True)}


def compose_files(
    paths: Sequence[Path],
    *,
    names: Sequence[str] | None = None,
    dummy: str = SUM,
    rank: int | None = None,
    energy: float | None = None,
) -> tuple[Steer, Provenance]:
    """Compose steer files, and truncate the result if a rank or an energy is given.

    Returns:
        The steer and its origin, whose ``derivation`` says what it was made of and how, and holds the interference of
        its dimensions. Calibrated strengths are not taken over: beside others a strength costs more.

    Raises:
        InputError: As ``load_steer``, ``compose`` and ``truncated``, or if the files are of different models.
    """
    loaded = [load_steer(path) for path in paths]
    _refuse_other_models(paths, [provenance for _, provenance in loaded])
    whole = compose([steer for steer, _ in loaded], names=names, dummy=dummy)
    reduced = None if rank is None and energy is None else whole.truncated(rank=rank, energy=energy)
    chosen = iter([whole.dimensions[k] for k in whole.attributes])
    sources, meaning = [], dict[str, str]()
    for path, (steer, provenance) in zip(paths, loaded, strict=True):
        own = {steer.dimensions[k]: next(chosen) for k in steer.attributes}
        meaning |= {new: provenance.meaning.get(old, "") for old, new in own.items()}
        sources.append(_source(path, steer, provenance, own))
    derivation: dict[str, Any] = {"kind": "composition", "sources": sources, "dummy": dummy}
    if reduced is not None:
        derivation["truncation"] = {"rank": rank, "energy": energy, "kept_energy": kept_energy(whole, reduced)}
    steer, seeds = reduced or whole, {provenance.seed for _, provenance in loaded}
    return steer, Provenance(
        model=loaded[0][1].model,
        fingerprint=loaded[0][1].fingerprint,
        meaning=meaning,
        seed=seeds.pop() if len(seeds) == 1 else 0,
        versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
        derivation=derivation | {"interference": asdict(interference(steer))},
    )


def _refuse_other_models(paths: Sequence[Path], origins: Sequence[Provenance]) -> None:
    for path, provenance in zip(paths, origins, strict=True):
        if provenance.fingerprint != origins[0].fingerprint:
            first, other = (f"{own.model} (head {own.fingerprint[:8]})" for own in (origins[0], provenance))
            raise InputError(
                f"{paths[0]} was fitted for model {first}, {path} for {other}; steers of one model expected"
            )


def _source(path: Path, steer: Steer, provenance: Provenance, names: Mapping[str, str]) -> dict[str, Any]:
    """What is known of one file; ``names`` maps its attributes to their new names."""
    known = {
        "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
        "attributes": list(names),
        "names": list(names.values()),
        "dummy": DUMMY in steer.dimensions,
        "rank": steer.rank,
        "epsilon": steer.epsilon,
        "corpus": provenance.corpus,
        "seed": provenance.seed,
    }
    return known | ({"derivation": provenance.derivation} if provenance.derivation else {})
