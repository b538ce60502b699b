"""Run `python -m src.serve`: see `lmsteer.commands.serve`."""

from lmsteer.cli.app import command

main = command("serve")

if __name__ == "__main__":
    main()
