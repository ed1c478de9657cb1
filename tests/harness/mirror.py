"""The test mirror: upstream's release archives, rebuilt from Debian's packages and served with faults on demand.

``mirror.py build`` fetches the packages of two Debian suites (through the machine's own apt mirror, without touching
its configuration) and repacks their binaries the way upstream releases them::

    <dest>/<component>/<version>/<upstream's file name>.tar.gz
    <dest>/<component>/<version>/sha256sums.txt
    <dest>/extra/alertmanager-templates.tar.gz   the default templates that Debian's Alertmanager reads from a folder
    <dest>/lock.yml                              the lock file for these archives
    <dest>/python/                               the Python applications' packages, as playbooks/mirror.yml has them

What is not in Debian can be put into the folder ``extra`` beside <dest> under upstream's file name: a release file that
the catalogue asks for is taken from there. The packages come from PIP_INDEX_URL where that is set.

Where there is no Grafana, its emulator (tests/emulators/grafana.py) is packed in upstream's layout. Its checksum is in
<dest>/lock-tests.yml alone, so that nothing but a test that asks for emulators can install it.

``mirror.py serve`` serves that folder over HTTP; the first part of the path may name a fault: ``/ok/...`` is the file,
``/missing/...`` a 404, ``/hang/...`` never answers, ``/truncated/...`` ends half-way, ``/corrupt/...`` has wrong bytes.

``mirror.py vars --url URL`` prints the Ansible variables that make a run use the mirror served there and do without
what it has not, with ``--emulators`` those of a test.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Collection
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import ansible.module_utils
import yaml
from ansible.module_utils.urls import open_url

ROOT = Path(__file__).resolve().parents[2]
if (shared := str(ROOT / "plugins" / "module_utils")) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(shared)

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from ansible.module_utils.watchkeeper.catalogue import PYPI, Project  # noqa: E402
from ansible.module_utils.watchkeeper.mirroring import fill  # noqa: E402
from ansible.module_utils.watchkeeper.release import ReleaseError  # noqa: E402
from ansible.module_utils.watchkeeper.settings import read_setting  # noqa: E402
from ansible.module_utils.watchkeeper.wheels import choose, locks_of, publish  # noqa: E402

from tests.emulators.grafana import ABOUT, DEFAULTS, VERSION  # noqa: E402

DEFAULT_DEST = ROOT / ".cache" / "mirror"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TEMPLATES = "usr/share/prometheus/alertmanager"
TEMPLATES_ARCHIVE = "extra/alertmanager-templates.tar.gz"
# Older first: where two suites carry the same upstream version, the newer package wins.
SUITES = ("trixie", "forky")
# For one download.
TIMEOUT = 600
# The lock file of tests: what is in the other one, and what stands in for a program that cannot be had.
TESTS_LOCK = "lock-tests.yml"
EMULATED = "grafana"
EMULATOR = ROOT / "tests" / "emulators" / "grafana.py"

# See the top of this file.
FAULTS = ("missing", "hang", "truncated", "corrupt")
HANG_SECONDS = 120


@dataclass(frozen=True)
class Component:
    """One program: the Debian packages it comes from and the shape of upstream's archive.

    ``binaries`` maps upstream's file name to the path in the packages. ``archive`` is upstream's file name without
    ``.tar.gz``; ``flat`` says that upstream's archive has no top folder (of that same name).
    """

    name: str
    package: str
    binaries: dict[str, str]
    archive: str
    extra_packages: tuple[str, ...] = ()
    flat: bool = False


COMPONENTS = (
    Component(
        "prometheus",
        "prometheus",
        {"prometheus": "usr/bin/prometheus", "promtool": "usr/bin/promtool"},
        "prometheus-{version}.linux-{arch}",
        extra_packages=("promtool",),
    ),
    Component(
        "alertmanager",
        "prometheus-alertmanager",
        {"alertmanager": "usr/bin/prometheus-alertmanager", "amtool": "usr/bin/amtool"},
        "alertmanager-{version}.linux-{arch}",
        extra_packages=("amtool",),
    ),
    Component(
        "node_exporter",
        "prometheus-node-exporter",
        {"node_exporter": "usr/bin/prometheus-node-exporter"},
        "node_exporter-{version}.linux-{arch}",
    ),
    Component(
        "blackbox_exporter",
        "prometheus-blackbox-exporter",
        {"blackbox_exporter": "usr/bin/prometheus-blackbox-exporter"},
        "blackbox_exporter-{version}.linux-{arch}",
    ),
    Component(
        "redis_exporter",
        "prometheus-redis-exporter",
        {"redis_exporter": "usr/bin/prometheus-redis-exporter"},
        "redis_exporter-v{version}.linux-{arch}",
    ),
    Component(
        "postgres_exporter",
        "prometheus-postgres-exporter",
        {"postgres_exporter": "usr/bin/prometheus-postgres-exporter"},
        "postgres_exporter-{version}.linux-{arch}",
    ),
    Component(
        "nginx_exporter",
        "prometheus-nginx-exporter",
        {"nginx-prometheus-exporter": "usr/bin/prometheus-nginx-exporter"},
        "nginx-prometheus-exporter_{version}_linux_{arch}",
        flat=True,
    ),
)


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a command and give its standard output; end the program with its own words when it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        sys.exit(f"error: the test mirror needs {command[0]}, from a Debian machine")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(command)} failed:\n{error.stderr}")
    return done.stdout


def upstream_version(debian: str) -> str:
    """Give the upstream part of a Debian version: ``3.5.3+ds-1+b2`` is ``3.5.3``."""
    without_epoch = debian.partition(":")[2] or debian
    return re.split(r"[+~]", without_epoch.rpartition("-")[0] or without_epoch)[0]


def debian_uri() -> str:
    """Give the address of the Debian mirror that this machine's own apt uses."""
    filters = ("Identifier: Packages", "Origin: Debian", "Label: Debian")
    for attempt in range(2):
        if found := run("apt-get", "indextargets", "--format", "$(REPO_URI)", *filters).split():
            return min(found)
        if attempt == 0:
            # Without package lists apt does not know whose the sources are.
            print("==> reading the package lists (apt-get update)", file=sys.stderr, flush=True)
            run(*(() if os.geteuid() == 0 else ("sudo",)), "apt-get", "-q", "update")
    sys.exit("error: this machine's apt sources name no Debian mirror")


class Apt:
    """Debian's packages of several suites, through an apt state of our own below ``work``."""

    def __init__(self, work: Path) -> None:
        for folder in ("lists/partial", "archives/partial", "download"):
            (work / folder).mkdir(parents=True)
        (work / "status").touch()
        uri = debian_uri()
        (work / "sources.list").write_text(
            "".join(f"deb [signed-by={KEYRING}] {uri} {suite} main\n" for suite in SUITES), encoding="utf-8"
        )
        self._folder = work / "download"
        options = {
            "Dir::Etc::SourceList": work / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State::Lists": work / "lists",
            "Dir::State::status": work / "status",
            "Dir::Cache": work,
            "Dir::Cache::archives": work / "archives",
            # Debian's container images switch these off, and every call of apt then reads all indexes again.
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
            "Acquire::Languages": "none",
            # A frozen mirror of a testing suite has outlived its dates.
            "Acquire::Check-Valid-Until": "false",
            "APT::Sandbox::User": "",
        }
        self._options = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        run("apt-get", *self._options, "-q", "update")

    def version(self, package: str, suite: str) -> str | None:
        """Give the version of ``package`` in ``suite``, or None when the suite does not have it."""
        for line in run("apt-cache", *self._options, "madison", package).splitlines():
            name, version, source = (part.strip() for part in line.split("|"))
            if name == package and f" {suite}/" in source and source.endswith("Packages"):
                return version
        return None

    def unpack(self, package: str, version: str, into: Path) -> None:
        """Fetch one package (apt checks its signature chain) and unpack its files."""
        run("apt-get", *self._options, "-q", "download", f"{package}={version}", cwd=self._folder)
        (file,) = self._folder.glob(f"{package}_*.deb")
        run("dpkg-deb", "-x", str(file), str(into))
        file.unlink()


def pack(target: Path, files: dict[str, Path]) -> str:
    """Write a ``.tar.gz`` whose bytes depend on the names and contents alone; give its SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with (
        partial.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=4) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted({str(parent) for file in files for parent in Path(file).parents} - {"."}):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        for name, source in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = source.stat().st_size
            info.mode = 0o755 if os.access(source, os.X_OK) else 0o644
            with source.open("rb") as content:
                archive.addfile(info, content)
    partial.rename(target)
    with target.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def build_component(apt: Apt, component: Component, suite: str, arch: str, dest: Path, lock: dict[str, Any]) -> None:
    """Repack one component from one suite and enter it in ``lock``."""
    debian = apt.version(component.package, suite)
    if debian is None:
        print(f"  {component.name}: not in {suite}")
        return
    version = upstream_version(debian)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        apt.unpack(component.package, debian, tree)
        for package in component.extra_packages:
            if (extra := apt.version(package, suite)) is not None and upstream_version(extra) == version:
                apt.unpack(package, extra, tree)
        stem = component.archive.format(version=version, arch=arch)
        top = "" if component.flat else f"{stem}/"
        files = {f"{top}{name}": tree / path for name, path in component.binaries.items()}
        if absent := [str(path.relative_to(tree)) for path in files.values() if not path.is_file()]:
            sys.exit(f"error: {component.package} {debian} ({suite}) has no {', '.join(absent)}")
        files[f"{top}LICENSE"] = tree / "usr/share/doc" / component.package / "copyright"
        archive = dest / component.name / version / f"{stem}.tar.gz"
        digest = pack(archive, files)
        (archive.parent / "sha256sums.txt").write_text(f"{digest}  {archive.name}\n", encoding="utf-8")
        if (tree / TEMPLATES).is_dir():
            templates = {path.name: path for path in (tree / TEMPLATES).glob("*.tmpl")}
            pack(dest / TEMPLATES_ARCHIVE, templates)
    lock.setdefault(component.name, {}).setdefault(version, {})[arch] = {
        "sha256": digest,
        "source": f"debian package {component.package} {debian} ({suite})",
    }
    print(f"  {component.name} {version} ({suite}: {component.package} {debian})", flush=True)


def build(dest: Path) -> None:
    """Bring the mirror in ``dest`` up to date; what this same script has made before is kept."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    with dest.with_suffix(".lock").open("w", encoding="utf-8") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        arch = run("dpkg", "--print-architecture").strip()
        project = Project.load(ROOT)
        build_archives(dest, arch)
        add_extras(dest, arch, project)
        add_packages(dest, arch, project)
        add_emulator(dest, arch, project)


def build_archives(dest: Path, arch: str) -> None:
    """Repack Debian's packages, unless this same script has done so already."""
    stamp = dest / ".stamp"
    recipe = hashlib.sha256(repr((SUITES, COMPONENTS)).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe:
        return
    print("==> building the test mirror from Debian's packages (about a minute)", flush=True)
    fresh = dest.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    lock: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        apt = Apt(Path(work))
        for suite in SUITES:
            for component in COMPONENTS:
                build_component(apt, component, suite, arch, fresh, lock)
    write_lock(fresh, lock)
    (fresh / ".stamp").write_text(recipe, encoding="utf-8")
    shutil.rmtree(dest, ignore_errors=True)
    fresh.rename(dest)


def add_extras(dest: Path, arch: str, project: Project) -> None:
    """Take the release files that somebody has put beside the mirror, and enter them in its lock file."""
    lock = yaml.safe_load((dest / "lock.yml").read_text(encoding="utf-8"))
    for name, entry in project.components.items():
        if not entry.released:
            continue
        file = dest.parent / "extra" / entry.archive_url(entry.version, arch).rpartition("/")[2]
        if not file.is_file():
            continue
        with file.open("rb") as content:
            pin = {"sha256": hashlib.file_digest(content, "sha256").hexdigest(), "source": "built for the tests"}
        if lock.setdefault(name, {}).setdefault(entry.version, {}).get(arch) == pin:
            continue
        folder = dest / name / entry.version
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
        (folder / "sha256sums.txt").write_text(f"{pin['sha256']}  {file.name}\n", encoding="utf-8")
        lock[name][entry.version][arch] = pin
        write_lock(dest, lock)
        print(f"==> added {file.name} to the test mirror", flush=True)


def add_emulator(dest: Path, arch: str, project: Project) -> None:
    """Pack the emulator in Grafana's place, unless a release of Grafana is there."""
    lock = yaml.safe_load((dest / "lock.yml").read_text(encoding="utf-8"))
    entry = project.components.get(EMULATED)
    if entry is None or arch in lock.get(EMULATED, {}).get(entry.version, {}):
        (dest / TESTS_LOCK).unlink(missing_ok=True)
        return
    archive = dest / EMULATED / entry.version / entry.archive_url(entry.version, arch).rpartition("/")[2]
    digest = pack_emulator(archive, entry.version)
    (archive.parent / "sha256sums.txt").write_text(f"{digest}  {archive.name}\n", encoding="utf-8")
    lock.setdefault(EMULATED, {}).setdefault(entry.version, {})[arch] = {"sha256": digest, "source": "emulator"}
    write_lock(dest, lock, TESTS_LOCK)


def pack_emulator(archive: Path, version: str) -> str:
    """Write the emulator as a release archive of Grafana; give its SHA-256."""
    top = f"{EMULATED}-{version}"
    contents = {
        "VERSION": VERSION,
        "LICENSE": (ROOT / "LICENSE").read_text(encoding="utf-8"),
        "README.md": f"This is {ABOUT}.\n",
        "conf/defaults.ini": DEFAULTS,
        "public/emulator.txt": f"This is {ABOUT}.\n",
    }
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name, content in contents.items():
            (tree / name).parent.mkdir(exist_ok=True)
            (tree / name).write_text(content, encoding="utf-8")
        (tree / "bin").mkdir()
        shutil.copy(EMULATOR, tree / "bin" / EMULATED)
        (tree / "bin" / EMULATED).chmod(0o755)
        files = {f"{top}/{name}": tree / name for name in (*contents, f"bin/{EMULATED}")}
        return pack(archive, files)


def add_packages(dest: Path, arch: str, project: Project) -> None:
    """Add the Python applications' packages for this machine's architecture."""
    index = os.environ.get("PIP_INDEX_URL") or PYPI
    versions = read_setting(ROOT, {}, "watchkeeper_mirror_python_versions")
    try:
        wheels = choose(dest, locks_of(project), index, versions, TIMEOUT, open_url, [arch])
        changed = fill(wheels.archives(index), dest, TIMEOUT, open_url) + publish(wheels, dest)
    except ReleaseError as error:
        sys.exit(f"error: {error}")
    if changed:
        print(f"==> the test mirror has {len(wheels.wheels)} Python packages", *wheels.notes, sep="\n  ", flush=True)


def write_lock(dest: Path, lock: dict[str, Any], name: str = "lock.yml") -> None:
    """Write a lock file of the mirror."""
    head = "---\n# Generated by tests/harness/mirror.py for the test mirror beside it.\n"
    (dest / name).write_text(head + yaml.safe_dump(lock), encoding="utf-8")


class Handler(BaseHTTPRequestHandler):
    """Serve files of ``folder``; the first part of the path may name a fault."""

    protocol_version = "HTTP/1.1"
    folder: ClassVar[Path]
    closing: ClassVar[threading.Event] = threading.Event()

    def do_HEAD(self) -> None:
        """Answer like GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Send the file, or the fault that the path asks for."""
        first, _, rest = self.path.lstrip("/").partition("/")
        fault = first if first in FAULTS else None
        file = (self.folder / (rest if fault or first == "ok" else f"{first}/{rest}")).resolve()
        if self.path.endswith("/"):
            file /= "index.html"
        if fault == "hang":
            self.log_request("hangs")
            self.closing.wait(HANG_SECONDS)
            self.close_connection = True
            return
        if fault == "missing" or not (file.is_relative_to(self.folder) and file.is_file()):
            self.send_error(404)
            return
        size = file.stat().st_size
        self.send_response(200)
        # pip reads an index by its type alone.
        self.send_header("Content-Type", "text/html" if file.suffix == ".html" else "application/octet-stream")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command == "HEAD":
            return
        with file.open("rb") as content:
            if fault is None:
                shutil.copyfileobj(content, self.wfile, 1 << 20)
            elif fault == "truncated":
                shutil.copyfileobj(io.BytesIO(content.read(size // 2)), self.wfile)
                self.close_connection = True
            else:
                middle, damaged = size // 2, bytearray(content.read())
                damaged[middle : middle + 16] = bytes(byte ^ 0xFF for byte in damaged[middle : middle + 16])
                self.wfile.write(damaged)


class Server(ThreadingHTTPServer):
    """A server whose clients may go away whenever they like."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet about clients that hang up; report all else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def serve(dest: Path, bind: str, port: int) -> None:
    """Serve ``dest`` until the process is ended; every request is one line on standard error."""
    Handler.folder = dest.resolve()
    with Server((bind, port), Handler) as server:
        address, bound = server.server_address[:2]
        print(f"serving {dest} on http://{address!s}:{bound}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            Handler.closing.set()


def variables(dest: Path, url: str, emulators: bool = False) -> dict[str, Any]:
    """Give the Ansible variables that make a run use this mirror, served at ``url`` (without a fault's name).

    Each component gets the newest version that the mirror has; ``test_mirror_versions`` lists all, oldest first, and
    ``test_mirror_missing`` names the components that the mirror has not, which a run does without. ``test_grafana``
    says what Grafana is: ``real``, ``emulator`` (with ``emulators`` only), or ``missing``.
    A mirror without a lock file of its own holds upstream's archives: the project's lock file has their checksums.
    """
    candidates = (dest / TESTS_LOCK if emulators else dest / "lock.yml", dest / "lock.yml", ROOT / "files" / "lock.yml")
    lock_file = next(file for file in candidates if file.is_file())
    lock = yaml.safe_load(lock_file.read_text(encoding="utf-8"))
    versions = {
        name: held
        for name, found in lock.items()
        if (held := sorted((version for version in found if (dest / name / version).is_dir()), key=version_key))
    }
    sources = {pin.get("source") for pins in lock.get(EMULATED, {}).values() for pin in pins.values()}
    templates = dest / TEMPLATES_ARCHIVE
    project = Project.load(ROOT)
    missing = [name for name, entry in project.components.items() if entry.released and name not in versions]
    return {
        "watchkeeper_mirror_url": f"{url.rstrip('/')}/ok",
        "watchkeeper_lock_file": str(lock_file),
        "test_mirror_versions": versions,
        "test_mirror_missing": missing,
        "test_grafana": "missing" if EMULATED not in versions else "emulator" if "emulator" in sources else "real",
        "test_mirror_templates": str(templates) if templates.is_file() else "",
        **{f"{name}_version": held[-1] for name, held in versions.items()},
        **without(project, missing),
    }


def without(project: Project, missing: Collection[str]) -> dict[str, str]:
    """Give the variables of a run that does without some components.

    Of those that a setting chooses, its default is taken, else another one that is there, else none.
    """
    found = {f"{name}_state": "absent" for name in missing if not project.entry(name).chosen_by}
    for name in missing:
        entry = project.entry(name)
        if entry.chosen_by and name == entry.chosen:
            others = (other for other in project.components.values() if other.chosen_by == entry.chosen_by)
            found[entry.chosen_by] = next((other.name for other in others if other.name not in missing), "none")
    return found


def version_key(version: str) -> tuple[int, ...]:
    """Order versions by their numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dest", type=Path, default=DEFAULT_DEST, help="folder of the mirror (default: .cache/mirror)")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("build", help="build the mirror unless it is there (the default)")
    serving = commands.add_parser("serve", help="serve the mirror over HTTP")
    serving.add_argument("--bind", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    serving.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    commands.add_parser("debian", help="print the Debian mirror that this machine uses")
    telling = commands.add_parser("vars", help="print the Ansible variables for a served mirror")
    telling.add_argument("--url", required=True, help="where the mirror is served")
    telling.add_argument("--emulators", action="store_true", help="let emulators stand in for what cannot be had")
    arguments = parser.parse_args()
    dest: Path = arguments.dest.absolute()
    if arguments.command == "serve":
        serve(dest, arguments.bind, arguments.port)
    elif arguments.command == "debian":
        print(debian_uri())
    elif arguments.command == "vars":
        print("---\n" + yaml.safe_dump(variables(dest, arguments.url, arguments.emulators)), end="")
    else:
        build(dest)


if __name__ == "__main__":
    main()
