"""Run `python -m src.export`: see `lmsteer.commands.export`."""

from lmsteer.cli.app import command

main = command("export")

if __name__ == "__main__":
    main()
