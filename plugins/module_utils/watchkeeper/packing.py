"""What a Python application consists of, packed for the way to a host: its locked requirements and our own package."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A `.tar.gz` whose bytes depend on nothing but the files in it, and its SHA-256."""

    content: bytes
    sha256: str


@functools.cache
def pack(requirements: Path, folder: Path | None = None) -> Package:
    """Pack a lock file of requirements and a Python package (its `.py` files and `py.typed`), once in a run.

    The lock of pip, which installs the requirements, lies beside that of every application.
    """
    files = {"requirements.lock": requirements, "pip.lock": requirements.with_name("pip.lock")}
    for path in sorted(folder.rglob("*")) if folder else ():
        if folder and (path.suffix == ".py" or path.name == "py.typed"):
            files[f"{folder.name}/{path.relative_to(folder).as_posix()}"] = path
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in files.items():
            content = path.read_bytes()
            member = tarfile.TarInfo(f"package/{name}")
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return Package(packed.getvalue(), hashlib.sha256(packed.getvalue()).hexdigest())
