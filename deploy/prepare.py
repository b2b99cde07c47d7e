"""Makes what `docker-compose.yml` needs before its first start: secrets, and `.env`. Never replaces anything.

`python3 deploy/prepare.py`, with any Python from 3.11 on; needs nothing installed.
"""

import argparse
import base64
import hashlib
import json
import os
import secrets
import stat
import string
import sys
from contextlib import suppress
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
SECRETS = CHECKOUT / "deploy" / "secrets"
#: For the stand-ins any random text will do; for real systems, theirs goes into these files.
RANDOM = ("temporal-db-password", "encryption-keys", "control-plane-api-key", "identity-token", "host-token")
#: Of these the API has its own, beside the worker's, to look people up with.
READ_ONLY = ("control-plane-api-key", "identity-token")
FIRST_PERSON = {
    "person": "Alice",
    "email": "alice@example.com",
    "teams": ["platform"],
    "role": "platform",
}
#: The name with which the platform team signs in to Temporal's Web UI.
WEB_UI_NAME = "platform"
#: The user of the image when the files belong to root: no process of ours runs as root.
IMAGE_USER = 10001
_LETTERS = string.ascii_lowercase + string.digits


def main() -> None:
    """Make what is missing, and say so. Nothing is written for --help, or for what it does not know."""
    argparse.ArgumentParser(
        prog="deploy/prepare.py",
        description="Make what docker-compose.yml needs before its first start: deploy/secrets, and "
        ".env. What is there is kept. Shows the first person's token, once.",
    ).parse_args()
    os.umask(0o077)
    make_folder(SECRETS)
    make(SECRETS / ".gitignore", "*\n")
    for name in RANDOM:
        make(SECRETS / name, secrets.token_urlsafe(32) + "\n")
    for name in READ_ONLY:
        # The stand-ins know one credential each. Real systems have one that only reads.
        make(SECRETS / f"{name}-read", (SECRETS / name).read_text(encoding="utf-8"))
    password = secrets.token_urlsafe(24)
    if make(SECRETS / "web-ui-sign-in", f"{WEB_UI_NAME}:{hashed(password)}\n"):
        print(f"  to sign in to Temporal's Web UI, shown this once: name {WEB_UI_NAME}, password {password}")
    token = secrets.token_urlsafe(32)
    tokens = {"tokens": [{"sha256": hashlib.sha256(token.encode()).hexdigest(), **FIRST_PERSON}]}
    if make(SECRETS / "api-tokens", json.dumps(tokens, indent=2) + "\n"):
        print(f"  the first token, {FIRST_PERSON['email']}'s, shown this once: {token}")
    installation = "".join(secrets.choice(_LETTERS) for _ in range(12))
    user, group = os.getuid() or IMAGE_USER, os.getgid() or IMAGE_USER
    make(CHECKOUT / ".env", f"MOORAGE_INSTALLATION={installation}\nRUN_AS={user}:{group}\n")
    if os.getuid() == 0:
        for path in (SECRETS, *SECRETS.iterdir()):
            os.chown(path, user, group, follow_symlinks=False)
    print("for real systems: their URLs in .env, their keys in deploy/secrets, the people in api-tokens;")
    print("what the API is given to look people up with, in the files …-read, needs only read")


def hashed(password: str) -> str:
    """The password as nginx reads it from a file: SHA-1 with a salt, enough for 192 random bits."""
    salt = secrets.token_bytes(8)
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


def make_folder(path: Path) -> None:
    """Make the folder for this user alone; end at another user's, and at one that others may have filled."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    about = path.lstat()
    mode = stat.S_IMODE(about.st_mode)
    if not stat.S_ISDIR(about.st_mode):
        sys.exit(f"{path} is no folder, or a link to one: remove it")
    if os.getuid() not in (0, about.st_uid):
        sys.exit(f"{path} belongs to another user (uid {about.st_uid}): remove it, or run this as that user")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        sys.exit(f"others may write in {path} (mode {mode:04o}): look what is in it, then chmod 700")
    path.chmod(0o700)


def make(path: Path, content: str) -> bool:
    """Write the file unless it is there; whether it was made."""
    try:
        # Never through a link, which another user may have prepared here.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        print(f"kept {path.relative_to(CHECKOUT)}")
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    print(f"made {path.relative_to(CHECKOUT)}")
    return True


if __name__ == "__main__":
    main()
