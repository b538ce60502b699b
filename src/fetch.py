"""Run `python -m src.fetch`: see `lmsteer.commands.fetch`."""

from lmsteer.cli.app import command

main = command("fetch")

if __name__ == "__main__":
    main()
