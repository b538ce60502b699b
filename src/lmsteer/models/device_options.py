"""Values of the options that place a language model; imports nothing."""

from typing import Literal

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]
DeviceMap = str | dict[str, int | str] | None
"""One of ``AUTOMATIC``, or the location of all or of each module: cpu, disk, or a GPU by name or number."""
AUTOMATIC = ("auto", "balanced", "balanced_low_0", "sequential")
