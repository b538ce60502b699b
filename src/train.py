"""Run `python -m src.train`: see `lmsteer.commands.train`."""

from lmsteer.cli.app import command

main = command("train")

if __name__ == "__main__":
    main()
