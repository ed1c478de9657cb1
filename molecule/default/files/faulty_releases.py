"""Makes two releases of node_exporter that do not work, below FOLDER/extra/faulty, and a lock file for them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

RELEASES = {
    "0.0.1": "#!/bin/sh\necho 'fatal: this version crashes at its start'\nexit 1\n",
    "0.0.2": "#!/bin/sh\nexec sleep 1000\n",
}


def main() -> None:
    """Write archives in upstream's layout."""
    folder, lock, arch = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    pins = {}
    for version, script in RELEASES.items():
        name = f"node_exporter-{version}.linux-{arch}"
        path = folder / "extra" / "faulty" / "node_exporter" / version / f"{name}.tar.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        # The same bytes each time: a release that is on a host already must not look like another one.
        with gzip.GzipFile(path, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
            member = tarfile.TarInfo(f"{name}/node_exporter")
            member.size, member.mode = len(script), 0o755
            tar.addfile(member, io.BytesIO(script.encode()))
        pins[version] = {arch: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "source": "made for a test"}}
    lock.write_text(json.dumps({"node_exporter": pins}), encoding="utf-8")


if __name__ == "__main__":
    main()
