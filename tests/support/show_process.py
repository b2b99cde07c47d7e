"""`python -m tests.support.show_process`: prints what a process sees of how it was started, and waits."""

import json
import os
import sys

if __name__ == "__main__":
    seen = {
        "arguments": sys.argv[1:],
        "variables": dict(os.environ),
        "folder": os.getcwd(),
        "leads_group": os.getpgid(0) == os.getpid(),
        "has_fractions": "fractions" in sys.modules,
    }
    print(json.dumps(seen))
    print("to standard error", file=sys.stderr)
    sys.stdin.read()
