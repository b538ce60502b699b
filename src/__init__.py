"""Aliases: `python -m src.NAME` runs `lmsteer.commands.NAME`."""
