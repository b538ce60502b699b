"""Run `python -m src.transfer`: see `lmsteer.commands.transfer`."""

from lmsteer.cli.app import command

main = command("transfer")

if __name__ == "__main__":
    main()
