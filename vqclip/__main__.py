"""`python -m vqclip` is `vqclip`."""

from vqclip.cli import main

main()
