"""`python3 tests/cluster …`: the command line of the single-node cluster."""

import sys

from singlenode.cli import main

sys.exit(main())
