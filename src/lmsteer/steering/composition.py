"""Several steers of one model as one steer, and a steer cut to a lower rank.

Shapes: D width, K dimensions, R rank (D for a full steer).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lmsteer.errors import InputError
from lmsteer.steering.directions import directions
from lmsteer.steering.interference import interference
from lmsteer.steering.steer import DUMMY, Steer
from lmsteer.steering.steer_file import Origin, load_steer

SUM, NONE = "sum", "none"
"""What may become of the dummies, beside keeping that of one attribute."""
VERSIONS_OF = ("lmsteer", "torch")
Factors = tuple[Tensor, Tensor | None]
"""P1 and P2 (D, R) of one dimension, or their product ``P1 P2^T`` (D, D) alone."""


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
    owners = [(place, k) for place, steer in enumerate(steers) for k in attributes(steer)]
    found = new_names([steers[place].dimensions[k] for place, k in owners], names)
    epsilon = steers[0].epsilon
    parts = {name: factors(steers[place], k, epsilon) for name, (place, k) in zip(found, owners, strict=True)}
    constants = {name: constant(steers[place], k, epsilon) for name, (place, k) in zip(found, owners, strict=True)}
    kept = _dummies(steers, {name: place for name, (place, _) in zip(found, owners, strict=True)}, dummy)
    if kept:
        places = [steer.dimensions.index(DUMMY) for steer in kept]
        parts[DUMMY] = added([factors(steer, k, epsilon) for steer, k in zip(kept, places, strict=True)])
        both = [constant(steer, k, epsilon) for steer, k in zip(kept, places, strict=True)]
        constants[DUMMY] = sum((b for b in both if b is not None), torch.zeros(steers[0].width))
    some = any(steer.constant is not None for steer in steers)
    return steer_of(parts, epsilon=epsilon, constants=constants if some else None)


def attributes(steer: Steer) -> list[int]:
    """Dimensions other than the dummy."""
    return [k for k, name in enumerate(steer.dimensions) if name != DUMMY]


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


def _dummies(steers: Sequence[Steer], owners: Mapping[str, int], dummy: str) -> list[Steer]:
    """Steers whose dummies are kept; ``owners`` are the places of the steers that the attributes come from."""
    if dummy in owners:
        if DUMMY not in steers[owners[dummy]].dimensions:
            raise InputError(f"dummy={dummy}: the steer of {dummy} has no dummy; {SUM} or {NONE} expected")
        return [steers[owners[dummy]]]
    if dummy not in (SUM, NONE):
        raise InputError(f"dummy={dummy}: {SUM}, {NONE} or one of the attributes {', '.join(owners)} expected")
    return [steer for steer in steers if dummy == SUM and DUMMY in steer.dimensions]


def factors(steer: Steer, dimension: int, epsilon: float) -> Factors:
    """The factors of one dimension for a steer of another epsilon."""
    first = steer.first[dimension].detach().cpu() * (steer.epsilon / epsilon)
    return first, None if steer.second is None else steer.second[dimension].detach().cpu()


def constant(steer: Steer, dimension: int, epsilon: float) -> Tensor | None:
    """The constant part (D,) of one dimension for a steer of another epsilon; None where the steer has none."""
    return None if steer.constant is None else steer.constant[dimension].detach().cpu() * (steer.epsilon / epsilon)


def added(parts: Sequence[Factors]) -> Factors:
    """Factors of the sum of matrices: columns side by side, ``[P1 P1'] [P2 P2']^T = P1 P2^T + P1' P2'^T``."""
    seconds = [second for _, second in parts if second is not None]
    if len(seconds) < len(parts):
        return torch.stack([_product(part) for part in parts]).sum(0), None
    return torch.cat([first for first, _ in parts], dim=1), torch.cat(seconds, dim=1)


def steer_of(
    parts: Mapping[str, Factors], *, epsilon: float, constants: Mapping[str, Tensor | None] | None = None
) -> Steer:
    """A steer of given matrices, by dimension; full where one is, or where there are more columns than D.

    Args:
        constants: Constant parts; dimensions without one have 0. None: the steer has no such part.
    """
    width = next(iter(parts.values()))[0].shape[0]
    columns = max(first.shape[1] for first, _ in parts.values())
    rank: int | Literal["full"] = columns
    if columns > width or any(second is None for _, second in parts.values()):
        rank, state = "full", {"first": [_product(part) for part in parts.values()]}
    else:
        both = [(first, second) for first, second in parts.values() if second is not None]
        state = {"first": [first for first, _ in both], "second": [second for _, second in both]}
    steer = Steer(width, dimensions=list(parts), rank=rank, epsilon=epsilon, constant=constants is not None)
    padded = {name: [F.pad(x, (0, steer.first.shape[2] - x.shape[1])) for x in found] for name, found in state.items()}
    if constants is not None:
        known = [constants.get(name) for name in parts]
        padded["constant"] = [torch.zeros(width) if b_D is None else b_D for b_D in known]
    steer.load_state_dict({name: torch.stack(found) for name, found in padded.items()})
    return steer


def _product(part: Factors) -> Tensor:
    first, second = part
    return first if second is None else first @ second.T


def truncated(steer: Steer, *, rank: int | None = None, energy: float | None = None) -> Steer:
    """The nearest steer of a lower rank: of each matrix the largest singular values; constant parts stay.

    Args:
        rank: How many are kept, at most; in [1, R].
        energy: The share of the squared Frobenius norm that every matrix keeps, in (0, 1]: as few as do that.

    Returns:
        A steer of one rank for all dimensions, the singular values shared evenly between its factors.

    Raises:
        InputError: If not exactly one of the two is given, it is out of its range, or a matrix is zero.
    """
    if (rank is None) == (energy is None):
        raise InputError(f"rank={rank}, energy={energy}: one of the two expected")
    if rank is not None and not 1 <= rank <= steer.first.shape[2]:
        raise InputError(f"rank={rank}: an integer in [1, {steer.first.shape[2]}] expected, the rank that there is")
    if energy is not None and not 0 < energy <= 1:
        raise InputError(f"energy={energy}: a number above 0, at most 1, expected")
    found = [directions(steer, k) for k in range(len(steer.dimensions))]
    if energy is not None:
        rank = max(int((part.energy_R.cumsum(0) < energy * part.energy_R.sum()).sum()) + 1 for part in found)
    parts: dict[str, Factors] = {}
    for name, part in zip(steer.dimensions, found, strict=True):
        root_R = part.sizes_R[:rank].sqrt()
        parts[name] = ((part.context_DR[:, :rank] * root_R).float(), (part.output_DR[:, :rank] * root_R).float())
    kept = {name: constant(steer, k, steer.epsilon) for k, name in enumerate(steer.dimensions)}
    return steer_of(parts, epsilon=steer.epsilon, constants=None if steer.constant is None else kept)


def kept_energy(steer: Steer, reduced: Steer) -> dict[str, float]:
    """Share of each matrix's squared Frobenius norm that a truncated steer holds, by dimension."""
    before, after = (
        [directions(own, k).sizes_R.square().sum().item() for k in range(len(steer.dimensions))]
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
) -> tuple[Steer, Origin]:
    """Compose steer files, and truncate the result if a rank or an energy is given.

    Returns:
        The steer and its origin, whose ``derivation`` says what it was made of and how, and holds the interference of
        its dimensions. Calibrated strengths are not taken over: beside others a strength costs more.

    Raises:
        InputError: As ``load_steer``, ``compose`` and ``truncated``, or if the files are of different models.
    """
    loaded = [load_steer(path) for path in paths]
    _refuse_other_models(paths, [origin for _, origin in loaded])
    whole = compose([steer for steer, _ in loaded], names=names, dummy=dummy)
    reduced = None if rank is None and energy is None else truncated(whole, rank=rank, energy=energy)
    chosen = iter([whole.dimensions[k] for k in attributes(whole)])
    sources, meaning = [], dict[str, str]()
    for path, (steer, origin) in zip(paths, loaded, strict=True):
        own = {steer.dimensions[k]: next(chosen) for k in attributes(steer)}
        meaning |= {new: origin.meaning.get(old, "") for old, new in own.items()}
        sources.append(_source(path, steer, origin, own))
    derivation: dict[str, Any] = {"kind": "composition", "sources": sources, "dummy": dummy}
    if reduced is not None:
        derivation["truncation"] = {"rank": rank, "energy": energy, "kept_energy": kept_energy(whole, reduced)}
    steer, seeds = reduced or whole, {origin.seed for _, origin in loaded}
    return steer, Origin(
        model=loaded[0][1].model,
        fingerprint=loaded[0][1].fingerprint,
        meaning=meaning,
        seed=seeds.pop() if len(seeds) == 1 else 0,
        versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
        derivation=derivation | {"interference": asdict(interference(steer))},
    )


def _refuse_other_models(paths: Sequence[Path], origins: Sequence[Origin]) -> None:
    for path, origin in zip(paths, origins, strict=True):
        if origin.fingerprint != origins[0].fingerprint:
            first, other = (f"{own.model} (head {own.fingerprint[:8]})" for own in (origins[0], origin))
            raise InputError(
                f"{paths[0]} was fitted for model {first}, {path} for {other}; steers of one model expected"
            )


def _source(path: Path, steer: Steer, origin: Origin, names: Mapping[str, str]) -> dict[str, Any]:
    """What is known of one file; ``names`` maps its attributes to their new names."""
    known = {
        "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
        "attributes": list(names),
        "names": list(names.values()),
        "dummy": DUMMY in steer.dimensions,
        "rank": steer.rank,
        "epsilon": steer.epsilon,
        "corpus": origin.corpus,
        "seed": origin.seed,
    }
    return known | ({"derivation": origin.derivation} if origin.derivation else {})
