"""Values of the options that say where and how a language model is held; imports nothing."""

from typing import Literal

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]
DeviceMap = str | dict[str, int | str] | None
"""One of ``AUTOMATIC``, or the location of all or of each module: cpu, disk, or a GPU by name or number."""
AUTOMATIC = ("auto", "balanced", "balanced_low_0", "sequential")
Quantization = Literal["4bit", "8bit"] | None
"""How the linear modules of the layers are held in memory; None: as numbers."""
