"""Take the collections that requirements.yml names out of the `ansible` package's wheel.

Usage: collections_from_wheel.py REQUIREMENTS WHEEL DESTINATION

Fails when the wheel carries another version than the one asked for.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import yaml


def extract(requirements: Path, wheel: Path, destination: Path) -> None:
    """Unpack each wanted collection below ``destination/ansible_collections``; nothing else is unpacked."""
    wanted = yaml.safe_load(requirements.read_text(encoding="utf-8"))["collections"]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for collection in wanted:
            folder = f"ansible_collections/{collection['name'].replace('.', '/')}/"
            manifest = json.loads(archive.read(folder + "MANIFEST.json"))
            found = manifest["collection_info"]["version"]
            if found != collection["version"]:
                sys.exit(
                    f"{wheel.name} carries {collection['name']} {found}, but {requirements.name} "
                    f"asks for {collection['version']}"
                )
            archive.extractall(destination, [name for name in names if name.startswith(folder)])


if __name__ == "__main__":
    extract(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
