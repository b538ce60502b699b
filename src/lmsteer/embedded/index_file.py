"""Script: download one file of the package index without opening it, with pip's configuration and connections.

``pip download`` runs the build backend of a source archive to learn its metadata, before anybody has compared its
checksum, and has no option against it. So pip's own parts are used to find and copy the file. They are not a public
interface, but these have kept their form from pip 22 to 26.
"""

import sys
from optparse import Values
from pathlib import Path

from pip._internal.commands.download import DownloadCommand
from pip._internal.exceptions import CommandError
from pip._vendor.packaging.requirements import Requirement

CHUNK = 2**16


class CopyFile(DownloadCommand):
    """``pip download`` of one requirement, with the same options, that ends when the file is there."""

    def run(self, options: Values, args: list[str]) -> int:
        """Copy the file of the requirement ``args[0]`` to the folder of the option ``-d``.

        Raises:
            CommandError: If the index has no such file, or it cannot be read; pip prints the message.
        """
        requirement = Requirement(args[0])
        session = self.get_default_session(options)
        finder = self._build_package_finder(options=options, session=session)
        candidate = finder.find_best_candidate(requirement.name, requirement.specifier).best_candidate
        if candidate is None:
            raise CommandError(f"no file of {requirement} in the package index")
        link = candidate.link
        try:
            # Without "identity" some servers compress the file once more.
            answer = session.get(link.url_without_fragment, headers={"Accept-Encoding": "identity"}, stream=True)
            answer.raise_for_status()
            with (Path(options.download_dir) / Path(link.filename).name).open("xb") as file:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
        except OSError as error:  # those of connections are among them
            raise CommandError(f"{link.filename} cannot be downloaded ({error})") from error
        return 0


if __name__ == "__main__":
    sys.exit(CopyFile("download", "").main(sys.argv[1:]))
