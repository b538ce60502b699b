"""Run `python -m src.highlight`: see `lmsteer.commands.highlight`."""

from lmsteer.commands.highlight import main

if __name__ == "__main__":
    main()
