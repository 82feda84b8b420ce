"""``python -m simworld``."""

from simworld.cli import main

main()
