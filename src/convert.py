"""Run `python -m src.convert`: see `lmsteer.commands.convert`."""

from lmsteer.cli.app import command

main = command("convert")

if __name__ == "__main__":
    main()
