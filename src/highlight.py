"""Run `python -m src.highlight`: see `lmsteer.commands.highlight`."""

from lmsteer.cli.app import command

main = command("highlight")

if __name__ == "__main__":
    main()
