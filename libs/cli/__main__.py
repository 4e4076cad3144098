"""`python -m libs.cli` is the `slipway` command."""

from libs.cli.main import main

main()
