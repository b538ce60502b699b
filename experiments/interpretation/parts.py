"""A steer parted into its first direction and the rest, as dimensions of one steer that can be written with.

python -m experiments.interpretation.parts STEER OUT.safetensors

Shapes: D width, R directions.
"""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

from lmsteer.errors import InputError
from lmsteer.steering.steer import Steer
from lmsteer.steering.steer_file import load_steer, save_steer


def parted(steer: Steer) -> Steer:
    """Three dimensions: the steer's first one as it is, its first direction, and its other directions."""
    if steer.bias is not None:
        raise InputError("the steer has a constant part, which has no directions; one of form=matrix can be parted")
    whole, found = steer.factors(0), steer.directions(0)
    context_DR, output_DR = (found.context_DR * found.sizes_R).float(), found.output_DR.float()
    one, others = slice(0, 1), slice(1, None)
    parts = {"first": (context_DR[:, one], output_DR[:, one]), "rest": (context_DR[:, others], output_DR[:, others])}
    return Steer.from_factors({steer.dimensions[0]: whole, **parts}, epsilon=steer.epsilon)


def main(source: Path, out: Path) -> None:
    """Write the parted steer."""
    steer, provenance = load_steer(source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    save_steer(out, parted(steer), replace(provenance, calibration=[], derivation={"kind": "parts", "source": digest}))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m experiments.interpretation.parts STEER OUT.safetensors")
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except (InputError, OSError) as error:
        sys.exit(f"Error: {error}")
