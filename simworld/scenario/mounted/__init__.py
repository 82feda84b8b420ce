"""mounted owns serving a lab's folder as the package ``simworld.scenario.mounted.<lab id>``. It never touches sys.path.

Importing this package registers the finder. That is all a spawned worker needs: unpickling a class of a mounted module
imports its module by name, which imports this package first.
"""

from simworld.scenario.mounted._finder import MOUNTS_VARIABLE, install, lab_id, mount, package_of, refresh

__all__ = ["MOUNTS_VARIABLE", "lab_id", "mount", "package_of", "refresh"]

install()
