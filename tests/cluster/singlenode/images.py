"""Container images as tar files, from static binaries: one layer, one configuration, one manifest.

To add one: an entry in `IMAGES`, and for its program a folder in go/ and a line in `PROGRAMS`.
"""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .layout import AGENT, COREDNS, ETCD, KUBERNETES, PAUSE, TOOLBOX, VCLUSTER

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """`files` maps a path in the image to a binary of the build; `links` a path to the path it points to."""

    name: str
    files: dict[str, str]
    entrypoint: list[str]
    links: dict[str, str] = field(default_factory=dict)
    shell: bool = False
    """Whether it also has a shell and the usual small tools: links to one static busybox."""
    environment: list[str] = field(default_factory=lambda: ["PATH=/usr/local/bin:/bin"])


SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")

IMAGES = [
    Image(PAUSE, {"/pause": "pause"}, ["/pause"]),
    Image(TOOLBOX, {"/bin/fetch": "fetch"}, ["/bin/sh"], shell=True),
    Image(AGENT, {"/agent": "agent"}, ["/agent"]),
    Image(COREDNS, {"/coredns": "coredns"}, ["/coredns"]),
    # The chart's first container copies /kubernetes/ with `cp` into a volume, from which the second runs it.
    Image(
        KUBERNETES,
        {"/kubernetes/kubernetes": "kubernetes", "/kubernetes/kine": "kine"},
        ["/bin/sh"],
        {f"/kubernetes/{name}": "kubernetes" for name in SERVERS},
        shell=True,
    ),
    Image(VCLUSTER, {"/vcluster": "vcluster"}, ["/vcluster", "start"], shell=True),
    # For a vCluster with `controlPlane.backingStore.etcd.deploy`; the node runs the same program.
    Image(ETCD, {"/usr/local/bin/etcd": "etcd"}, ["etcd"]),
]


def file_name(image: Image) -> str:
    return image.name.rsplit("/", 1)[1].replace(":", "_") + ".tar"


def write(image: Image, binaries: Path, target: Path) -> None:
    """Writes the image in the format of `docker save`, which containerd imports. Equal input, equal bytes."""
    files, links = dict(image.files), dict(image.links)
    if image.shell:
        files["/bin/busybox"] = "busybox"
        links |= {f"/bin/{tool}": "busybox" for tool in _tools(binaries / "busybox")}
    layer_file = target.with_suffix(".layer")
    with tarfile.open(layer_file, "w", format=tarfile.USTAR_FORMAT) as layer:
        for folder in _folders([*files, *links]):
            layer.addfile(_entry(folder, tarfile.DIRTYPE, 0o755))
        # A place that any user may write to, as programs expect.
        layer.addfile(_entry("tmp", tarfile.DIRTYPE, 0o1777))
        for path, binary in files.items():
            source = binaries / binary
            entry = _entry(path, tarfile.REGTYPE, 0o755)
            entry.size = source.stat().st_size
            with source.open("rb") as content:
                layer.addfile(entry, content)
        for path, points_to in links.items():
            entry = _entry(path, tarfile.SYMTYPE, 0o777)
            entry.linkname = points_to
            layer.addfile(entry)

    configuration = json.dumps(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {"Entrypoint": image.entrypoint, "Env": image.environment, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer_file)}"]},
        }
    ).encode()
    manifest = json.dumps(
        [{"Config": "config.json", "RepoTags": [image.name], "Layers": ["layer.tar"]}]
    ).encode()
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content_bytes in (("config.json", configuration), ("manifest.json", manifest)):
            entry = _entry(name, tarfile.REGTYPE, 0o644)
            entry.size = len(content_bytes)
            archive.addfile(entry, io.BytesIO(content_bytes))
        entry = _entry("layer.tar", tarfile.REGTYPE, 0o644)
        entry.size = layer_file.stat().st_size
        with layer_file.open("rb") as content:
            archive.addfile(entry, content)
    layer_file.unlink()


def write_all(binaries: Path, folder: Path, say: Callable[[str], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        say(f"image {image.name}")
        write(image, binaries, folder / file_name(image))


def _tools(busybox: Path) -> list[str]:
    listed = subprocess.run(
        [str(busybox), "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    # A static glibc crashes when it looks up a name: `fetch` stands in for wget.
    return [tool for tool in listed if tool not in ("busybox", "wget")]


def _folders(paths: list[str]) -> list[str]:
    found = {str(parent).lstrip("/") for path in paths for parent in Path(path).parents}
    return sorted(found - {"", "."})


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type, entry.mode = kind, mode
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
