"""Run `python -m src.annotate`: see `lmsteer.commands.annotate`."""

from lmsteer.cli.app import command

main = command("annotate")

if __name__ == "__main__":
    main()
