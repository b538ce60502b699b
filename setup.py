"""Ship ``conf/``, which stays at the top of the repository, inside the wheel as ``lmsteer/conf``."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfiguration(build_py):
    """Copy the configuration next to the modules; an editable install reads it where it is."""

    def run(self) -> None:
        """Build the package, then copy ``conf/``."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "lmsteer" / "conf"
            shutil.copytree(Path(__file__).parent / "conf", target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConfiguration})
