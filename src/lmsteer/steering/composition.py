"""Compose several steers of one model into one, and truncate a steer to a lower rank.

Shapes: D width, K dimensions, R rank (D for a full steer).
"""

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lmsteer.errors import InputError
from lmsteer.steering.dimensions import DUMMY
from lmsteer.steering.interference import interference
from lmsteer.steering.provenance import Provenance
from lmsteer.steering.schedule import Schedule, with_schedules
from lmsteer.steering.steer import Factors, Steer, product
from lmsteer.steering.steer_file import load_steer
from lmsteer.steering.steer_location import locate_steer

SUM, NONE = "sum", "none"
"""Options for the dummies; the third is the name of the attribute whose dummy is used."""
VERSIONS_OF = ("lmsteer", "torch")


def compose(steers: Sequence[Steer], *, names: Sequence[str] | None = None, dummy: str = SUM) -> Steer:
    """Compose the attributes of steers, ``h + epsilon sum_k v_k h P1_k P2_k^T`` (Han et al., 2024: steers add).

    Each matrix keeps its factors, and its schedule if it has one. Adding factors, ``h (sum P1_k) (sum P2_k)^T``, would
    include the products of one steer's P1 with another's P2, which were never learned. Factors are padded with zero
    columns to the largest rank; if one steer is full, or there are more columns than D, the result is full. Its epsilon
    is that of the first steer; the P1 of the others are rescaled, so that strengths keep their meaning.

    Args:
        steers: Steers of one model.
        names: New names of all attributes, in order; None: the old ones.
        dummy: ``sum`` adds the matrices of the dummies, ``none`` leaves them out, and the (new) name of an attribute
            uses the dummy that was learned with it.

    Returns:
        The attributes in order, and the dummy last if there is one; on the CPU.

    Raises:
        InputError: If there is no attribute, widths differ, names repeat or their number is wrong, or there is no such
            dummy.
    """
    if len({steer.width for steer in steers}) > 1:
        raise InputError(f"steers of widths {', '.join(str(steer.width) for steer in steers)}: one width expected")
    steers = [steer.with_epsilon(steers[0].epsilon) for steer in steers]
    owners = [(steer, k) for steer in steers for k in steer.attributes]
    attributes = dict(zip(new_names([steer.dimensions[k] for steer, k in owners], names), owners, strict=True))
    factors = {name: _on_cpu(steer.factors(k)) for name, (steer, k) in attributes.items()}
    biases = {
        name: None if steer.bias is None else steer.bias[k].detach().cpu() for name, (steer, k) in attributes.items()
    }
    dummies = [
        (steer, steer.dimensions.index(DUMMY))
        for steer in _dummies(steers, {name: steer for name, (steer, _) in attributes.items()}, dummy)
    ]
    if dummies:
        factors[DUMMY] = add_factors([_on_cpu(steer.factors(k)) for steer, k in dummies])
        dummy_biases = [steer.bias[k].detach().cpu() for steer, k in dummies if steer.bias is not None]
        biases[DUMMY] = sum(dummy_biases, torch.zeros(steers[0].width))
    has_bias = any(steer.bias is not None for steer in steers)
    composed = Steer.from_factors(factors, epsilon=steers[0].epsilon, biases=biases if has_bias else None)
    old_names = {name: (steer, steer.dimensions[k]) for name, (steer, k) in attributes.items()}
    return with_schedules(
        composed, {name: steer.schedules[old] for name, (steer, old) in old_names.items() if old in steer.schedules}
    )


def _on_cpu(factors: Factors) -> Factors:
    p1, p2 = factors
    return p1.cpu(), None if p2 is None else p2.cpu()


def new_names(old: Sequence[str], new: Sequence[str] | None) -> list[str]:
    """Return the new names of attributes, or the old ones if ``new`` is None.

    Raises:
        InputError: If there are none, a name repeats, is empty or "dummy", or the number of new names is wrong.
    """
    if not old:
        raise InputError("nothing to compose: one or more steers with an attribute expected")
    if new is not None and len(new) != len(old):
        raise InputError(f"names={list(new)}: {len(old)} expected, one for each of {', '.join(old)}")
    names = list(old if new is None else new)
    if "" in names or DUMMY in names:
        raise InputError(f"names={names}: an attribute's name is not empty, and not {DUMMY!r}")
    if len(set(names)) < len(names):
        example = [f"{name}-{names[: index + 1].count(name)}" for index, name in enumerate(names)]
        raise InputError(
            f"attributes {', '.join(names)}: distinct names expected; give new ones, as in names=[{','.join(example)}]"
        )
    return names


def _dummies(steers: Sequence[Steer], owners: Mapping[str, Steer], dummy: str) -> list[Steer]:
    """Return the steers whose dummies are used; ``owners`` maps attributes to their steers."""
    if dummy in owners:
        if DUMMY not in owners[dummy].dimensions:
            raise InputError(f"dummy={dummy}: the steer of {dummy} has no dummy; {SUM} or {NONE} expected")
        return [owners[dummy]]
    if dummy not in (SUM, NONE):
        raise InputError(f"dummy={dummy}: {SUM}, {NONE} or one of the attributes {', '.join(owners)} expected")
    return [steer for steer in steers if dummy == SUM and DUMMY in steer.dimensions]


def add_factors(summands: Sequence[Factors]) -> Factors:
    """Return factors of a sum of matrices, by concatenation: ``[P1 P1'] [P2 P2']^T = P1 P2^T + P1' P2'^T``."""
    all_p2 = [p2 for _, p2 in summands if p2 is not None]
    if len(all_p2) < len(summands):
        return torch.stack([product(factors) for factors in summands]).sum(0), None
    return torch.cat([p1 for p1, _ in summands], dim=1), torch.cat(all_p2, dim=1)


def kept_energy(steer: Steer, reduced: Steer) -> dict[str, float]:
    """Return the share of the squared Frobenius norm that is left after truncation, by dimension."""
    return {
        name: (reduced.directions(k).sizes_R.square().sum() / steer.directions(k).sizes_R.square().sum()).item()
        for k, name in enumerate(steer.dimensions)
    }


def compose_files(
    paths: Sequence[Path],
    *,
    names: Sequence[str] | None = None,
    dummy: str = SUM,
    rank: int | None = None,
    energy: float | None = None,
    schedules: Mapping[str, Schedule | None] | None = None,
) -> tuple[Steer, Provenance]:
    """Compose steer files, and truncate the result if a rank or an energy is given.

    Args:
        schedules: Schedules by new name, in place of those of the files; None: a constant strength.

    Returns:
        The steer and its provenance, whose ``derivation`` lists the sources and options, and the interference of the
        dimensions. Calibrations are dropped: a strength costs more when other dimensions are on.

    Raises:
        InputError: As ``load_steer``, ``compose`` and ``truncated``, or if the files are of different models.
    """
    paths = [locate_steer(path) for path in paths]
    loaded = [load_steer(path) for path in paths]
    _refuse_other_models(paths, [provenance for _, provenance in loaded])
    composed = compose([steer for steer, _ in loaded], names=names, dummy=dummy)
    schedules = {**composed.schedules, **(schedules or {})}
    composed = with_schedules(composed, {name: one for name, one in schedules.items() if one is not None})
    reduced = None if rank is None and energy is None else composed.truncated(rank=rank, energy=energy)
    attributes = iter([composed.dimensions[k] for k in composed.attributes])
    sources, meaning = [], dict[str, str]()
    for path, (steer, provenance) in zip(paths, loaded, strict=True):
        renamed = {steer.dimensions[k]: next(attributes) for k in steer.attributes}
        meaning |= {new: provenance.meaning.get(old, "") for old, new in renamed.items()}
        sources.append(_source(path, steer, provenance, renamed))
    derivation: dict[str, Any] = {"kind": "composition", "sources": sources, "dummy": dummy}
    if reduced is not None:
        derivation["truncation"] = {"rank": rank, "energy": energy, "kept_energy": kept_energy(composed, reduced)}
    steer, seeds = reduced or composed, {provenance.seed for _, provenance in loaded}
    return steer, Provenance(
        model=loaded[0][1].model,
        fingerprint=loaded[0][1].fingerprint,
        commit=loaded[0][1].commit,
        meaning=meaning,
        seed=seeds.pop() if len(seeds) == 1 else 0,
        versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
        derivation=derivation | {"interference": asdict(interference(steer))},
    )


def _refuse_other_models(paths: Sequence[Path], provenances: Sequence[Provenance]) -> None:
    for path, provenance in zip(paths, provenances, strict=True):
        if provenance.fingerprint != provenances[0].fingerprint:
            first, other = (p.model_label(f"head {p.fingerprint[:8]}") for p in (provenances[0], provenance))
            raise InputError(
                f"{paths[0]} was fitted for model {first}, {path} for {other}; steers of one model expected"
            )


def _source(path: Path, steer: Steer, provenance: Provenance, names: Mapping[str, str]) -> dict[str, Any]:
    """Describe one file for ``derivation``; ``names`` maps its attributes to their new names."""
    source = {
        "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
        "attributes": list(names),
        "names": list(names.values()),
        "dummy": DUMMY in steer.dimensions,
        "rank": steer.rank,
        "epsilon": steer.epsilon,
        "corpus": provenance.corpus,
        "seed": provenance.seed,
    }
    return source | ({"derivation": provenance.derivation} if provenance.derivation else {})
