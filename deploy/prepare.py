"""Creates what `docker-compose.yml` needs before its first start: secrets and `.env`. Replaces no file.

`python3 deploy/prepare.py` runs on any Python from 3.11 on, with nothing installed. So it does not import our
packages, and has its own, smaller version of `clients.private_files`.
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
#: The stand-ins accept any random text; for real systems these files get their keys.
RANDOM = ("temporal-db-password", "encryption-keys", "control-plane-api-key", "identity-token", "host-token")
#: Of these the API has one that only reads, to look people up.
READ_ONLY = ("control-plane-api-key", "identity-token")
FIRST_PERSON = {
    "person": "Alice",
    "email": "alice@example.com",
    "teams": ["platform"],
    "role": "platform",
}
#: User name of the platform team for Temporal's Web UI.
WEB_UI_NAME = "platform"
#: User of the containers when the files belong to root: Moorage never runs as root.
IMAGE_USER = 10001
_LETTERS = string.ascii_lowercase + string.digits


def main() -> None:
    """Create what is missing, and print it. --help and unknown options write nothing."""
    argparse.ArgumentParser(
        prog="deploy/prepare.py",
        description="Create what docker-compose.yml needs before its first start: deploy/secrets, and "
        ".env. Existing files are kept. Prints the token of the first person, once.",
    ).parse_args()
    os.umask(0o077)
    ensure_private_folder(SECRETS)
    create_file(SECRETS / ".gitignore", "*\n")
    for name in RANDOM:
        create_file(SECRETS / name, secrets.token_urlsafe(32) + "\n")
    for name in READ_ONLY:
        # Each stand-in has one credential. Real systems have one that only reads.
        create_file(SECRETS / f"{name}-read", (SECRETS / name).read_text(encoding="utf-8"))
    password = secrets.token_urlsafe(24)
    if create_file(SECRETS / "web-ui-sign-in", f"{WEB_UI_NAME}:{hash_password(password)}\n"):
        print(f"  to sign in to Temporal's Web UI, shown this once: name {WEB_UI_NAME}, password {password}")
    token = secrets.token_urlsafe(32)
    tokens = {"tokens": [{"sha256": hashlib.sha256(token.encode()).hexdigest(), **FIRST_PERSON}]}
    if create_file(SECRETS / "api-tokens", json.dumps(tokens, indent=2) + "\n"):
        print(f"  the first token, {FIRST_PERSON['email']}'s, shown this once: {token}")
    installation = "".join(secrets.choice(_LETTERS) for _ in range(12))
    user, group = os.getuid() or IMAGE_USER, os.getgid() or IMAGE_USER
    create_file(CHECKOUT / ".env", f"MOORAGE_INSTALLATION={installation}\nRUN_AS={user}:{group}\n")
    if os.getuid() == 0:
        for path in (SECRETS, *SECRETS.iterdir()):
            os.chown(path, user, group, follow_symlinks=False)
    print("for real systems: their URLs in .env, their keys in deploy/secrets, the people in api-tokens;")
    print("what the API is given to look people up with, in the files …-read, needs only read")


def hash_password(password: str) -> str:
    """Return the password as nginx reads it from a file: salted SHA-1, enough for 192 random bits."""
    salt = secrets.token_bytes(8)
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


def ensure_private_folder(path: Path) -> None:
    """Create the folder for this user alone; exit if it is another user's or others may write in it."""
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


def create_file(path: Path, content: str) -> bool:
    """Write the file if it is missing; return whether it was."""
    try:
        # Never through a link that another user has prepared.
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
