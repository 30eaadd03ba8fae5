"""``python -m invdesign``: the same as the ``invdesign`` command."""

from invdesign.cli import main

main()
