"""Studies: questions, commands, answers."""

from lmsteer import cli as cli  # its settings must come before torch, which a study may import first
