"""A small copy of the project with a catalogue of its own, and a loopback server for its archives."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.harness.mirror import Handler, Server

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
COPIED = ("plugins", "library", "playbooks", "roles/watchkeeper", "ansible.cfg")


def sha256(content: bytes) -> str:
    """Return the checksum as lock files write it."""
    return hashlib.sha256(content).hexdigest()


class Checkout:
    """The copy. `asked` lists the paths that were requested of the server at `url`, which serves `served`."""

    def __init__(self, folder: Path, url: str, asked: list[str]) -> None:
        self.root = folder / "checkout"
        self.served = folder / "served"
        self.url = url
        self.asked = asked
        for name in COPIED:
            source, target = ROOT / name, self.root / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        self.write("files/renamed.yml", {})

    def write(self, path: str, content: object) -> Path:
        """Write data as YAML below the copy."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return file

    def catalogue(self, **components: dict[str, Any]) -> None:
        """Write the catalogue; what an entry does not say is made up."""
        made = {
            name: {
                "title": name.title(),
                "kind": "archive",
                "version": "1.0.0",
                "url": f"{self.url}/ok/up/{name}/v{{version}}/{name}-{{version}}.linux-{{arch}}.tar.gz",
                "group": "nodes",
                "port": 1000,
                **entry,
            }
            for name, entry in components.items()
        }
        self.write("files/components.yml", made)

    def serve(self, path: str, content: bytes) -> str:
        """Put a file on the server and return its checksum."""
        file = self.served / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return sha256(content)

    def release(self, name: str, version: str, *arches: str) -> dict[str, Any]:
        """Put made-up archives on the server where upstream has them; return their pins for the lock file."""
        return {
            arch: {
                "sha256": self.serve(
                    f"up/{name}/v{version}/{name}-{version}.linux-{arch}.tar.gz", f"{name} {version} {arch}".encode()
                ),
                "source": "made up",
            }
            for arch in arches
        }

    def play(
        self, playbook: str, *options: str, inventory: dict[str, Any] | None = None, **variables: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the playbooks against an inventory, with extra variables."""
        hosts = self.write("hosts.yml", inventory or {"all": {"hosts": {"node1": {}}}})
        command = [str(PLAYBOOK), "-i", str(hosts), f"playbooks/{playbook}.yml", "-e", json.dumps(variables), *options]
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "LC_ALL") if key in os.environ}
        environment = {"LC_ALL": "C.UTF-8", **kept, "ANSIBLE_CONFIG": "ansible.cfg", "no_proxy": "127.0.0.1"}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def checkout(folder: Path) -> Iterator[Checkout]:
    """Make the copy below `folder` and serve for it on the loopback address until the end of the block."""
    (folder / "served").mkdir()
    asked: list[str] = []

    class Counting(Handler):
        def log_request(self, code: object = "-", size: object = "-") -> None:  # noqa: ARG002 - the base class's signature
            asked.append(self.path)

        def log_message(self, *_arguments: object) -> None:
            """Stay quiet."""

    Counting.folder = folder.resolve() / "served"
    Counting.closing = threading.Event()
    with Server(("127.0.0.1", 0), Counting) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Checkout(folder, f"http://127.0.0.1:{server.server_address[1]}", asked)
        finally:
            Counting.closing.set()
            server.shutdown()
            thread.join()
