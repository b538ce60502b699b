"""Published figures of the paper's efficiency row (Han et al., 2024), for GPT2-large. Never mixed with ours."""

from lmsteer.reporting.published import published

ROWS = {entry.method: entry.metrics for entry in published().entries if entry.table == "efficiency"}

DECODING_TIME = {method: figures["decoding_time"].value for method, figures in ROWS.items()}
"""Decoding time over that of the language model alone."""

PERCENT = {method: 100 * figures["parameters"].value for method, figures in ROWS.items() if "parameters" in figures}
"""Parameters learned, in per cent of the language model's: one full matrix, 1280², of 774 million."""
