"""Run `python -m src.train`: see `lmsteer.commands.train`."""

from lmsteer.commands.train import main

if __name__ == "__main__":
    main()
