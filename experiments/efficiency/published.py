"""Published figures of the paper's efficiency row (Han et al., 2024), for GPT2-large. Never mixed with ours."""

DECODING_TIME = {
    "LM-Steer": 1.24,
    "DAPT": 1.00,
    "LoRA": 1.00,
    "DExperts": 1.98,
    "GeDi": 2.94,
    "CTRL": 3.79,
    "MuCoLa": 24.03,
    "PPLM": 270.11,
}
"""Decoding time over that of the language model alone."""

PERCENT = {"LM-Steer": 0.2}
"""Parameters learned, in per cent of the language model's: one full matrix, 1280², of 774 million."""
