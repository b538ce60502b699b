"""The commands. What must be set before torch is loaded is set here."""

import os

# oneDNN keeps a compiled kernel for each shape it has met; texts of all lengths would make that gigabytes.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
