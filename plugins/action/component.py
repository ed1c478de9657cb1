"""The controller's half of the component engine: render, pin, send once."""

from __future__ import annotations

import ast
import functools
import os
from pathlib import Path
from typing import Any

import ansible.module_utils
import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.urls import open_url
from ansible.parsing.yaml.dumper import AnsibleDumper
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

ROOT = Path(__file__).resolve().parents[2]
if (shared := str(ROOT / "plugins" / "module_utils")) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(shared)

from ansible.module_utils.watchkeeper.catalogue import CatalogueError, Entry, Project
from ansible.module_utils.watchkeeper.declaration import (
    Artefact,
    Declaration,
    DeclarationError,
    Endpoint,
    Manifest,
    OwnedFile,
    Proof,
    Ready,
    Reload,
    Unit,
    declare,
)
from ansible.module_utils.watchkeeper.release import ReleaseError, download
from ansible.module_utils.watchkeeper.settings import documented, read_settings

# Ansible imports plugins before it forks a worker for each host: what is read here is read once.
PROJECT = Project.load(ROOT)

HEADER = "# Managed by Watchkeeper: changes made here are undone by the next run.\n"


@functools.cache
def argument_spec() -> dict[str, Any]:
    """Return the task's arguments as the module documents them."""
    tree = ast.parse((ROOT / "library" / "component.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            return _as_spec(yaml.safe_load(ast.literal_eval(node.value))["options"])
    raise AnsibleError("library/component.py has lost its documentation")


def _as_spec(options: dict[str, Any]) -> dict[str, Any]:
    spec = {}
    for name, option in options.items():
        entry = {key: value for key, value in option.items() if key not in ("description", "suboptions")}
        if "suboptions" in option:
            entry["options"] = _as_spec(option["suboptions"])
        spec[name] = entry
    return spec


class ActionModule(ActionBase):
    """Build the declaration of a component and have the host carry it out in one execution."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task; the result holds `component` for the closing table."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, args = self.validate_argument_spec(argument_spec=argument_spec())
        try:
            entry = PROJECT.entry(args["name"])
            if args["state"] != "present":
                result = self._execute(
                    {
                        "name": entry.name,
                        "state": args["state"],
                        "data": args["data"],
                        "purge_data": args["purge_data"],
                    },
                    variables,
                )
            else:
                result = self._converge(entry, args, variables)
        except (CatalogueError, DeclarationError, ReleaseError) as error:
            raise AnsibleActionFail(str(error)) from error
        if "component" in result:
            page, login = _page(entry, args, variables), args["login"]
            result["component"].update(title=entry.title, url=page, login=login)
        return result

    def _converge(self, entry: Entry, args: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        settings = read_settings(ROOT, variables, self._templar.template)
        artefact = PROJECT.artefact(entry.name, args["version"], settings)
        want = self._declaration(entry, args, artefact, settings, variables)
        raw, secrets = want.to_dict()
        arguments = {
            "name": entry.name,
            "declaration": raw,
            "secrets": secrets,
            "pull": settings["watchkeeper_download"] == "host",
        }
        result = self._execute(arguments, variables)
        if result.get("needs_archive") and not result.get("failed"):
            if artefact.package:
                arguments["archive"] = self._push_package(entry)
            else:
                arguments["archive"] = self._push_archive(artefact, entry.name, result["needs_archive"])
            result = self._execute(arguments, variables)
        return result

    def _declaration(
        self,
        entry: Entry,
        args: dict[str, Any],
        artefact: Artefact,
        settings: dict[str, Any],
        variables: dict[str, Any],
    ) -> Declaration:
        unit, ready, reload = args["unit"] or {}, args["ready"], args["reload"]
        if not unit:
            raise DeclarationError(f"component {entry.name}: unit is required when state is present")
        timeout = ready.get("timeout") or settings["watchkeeper_ready_timeout"]
        listen = tuple(_endpoint(entry.name, text) for text in args["listen"])
        base = f"http://{_local(listen[0])}" if listen else ""
        ready_url = ready.get("url") or (base + entry.ready if base and entry.ready else "")
        manifest = Manifest(
            name=entry.name,
            account=args["account"] or entry.name,
            version=artefact.version,
            ready=Ready(ready_url, ready.get("status") or 200, int(timeout)),
            reload=None
            if reload is None
            else Reload(base + entry.metrics_path if reload["prefix"] else "", reload["prefix"]),
            listen=listen,
            data=tuple(str(path) for path in args["data"]),
            replaces=tuple(dict.fromkeys(_other(entry.name, other) for other in args["replaces"])),
        )
        files = [OwnedFile(item["path"], self._content(item, variables)) for item in args["files"]]
        for path in (*args["secrets"], *args["generate"]):
            if not path.startswith("secrets/"):
                raise DeclarationError(f"component {entry.name}: secrets: {path!r} must lie below secrets/")
        files += [OwnedFile(path, str(content), secret=True) for path, content in args["secrets"].items()]
        return declare(
            manifest,
            artefact,
            Unit(
                description=unit["description"] or entry.title,
                command=tuple(unit["command"]),
                documentation=unit["documentation"] or entry.documentation,
                environment={key: str(value) for key, value in unit["environment"].items()},
                capabilities=tuple(unit["capabilities"]),
                settings=unit["settings"],
            ),
            files,
            args["check"],
            [item["path"] for item in args["files"] if item["restart"]],
            proofs=self._proofs(entry, base, variables) if settings["watchkeeper_prove_instances"] else (),
            generate=args["generate"],
            start_secrets=args["start_secrets"],
        )

    def _proofs(self, entry: Entry, base: str, variables: dict[str, Any]) -> list[Proof]:
        """Return what has to answer through an exporter before a change of it counts."""
        if not entry.samples:
            return []
        if entry.instances is None:
            return [Proof(base + entry.metrics_path, entry.samples)]
        variable = entry.instances.variable
        option = documented(ROOT, entry.name)[variable]
        items = self._templar.template(variables[variable])
        questions = entry.instances.questions(entry.job, entry.port, option, items)
        return [Proof(base + question.url, entry.samples) for question in questions]

    def _content(self, item: dict[str, Any], variables: dict[str, Any]) -> str:
        given = [key for key in ("template", "content", "yaml") if item.get(key) is not None]
        if len(given) != 1:
            raise DeclarationError(f"files: {item['path']!r} needs exactly one of template, content and yaml")
        if given == ["content"]:
            return str(item["content"])
        if given == ["yaml"]:
            text = yaml.dump(item["yaml"], Dumper=AnsibleDumper, sort_keys=False, default_flow_style=False, width=160)
            return HEADER + str(text)
        source = self._find_needle("templates", item["template"])
        text = trust_as_template(self._loader.get_text_file_contents(source))
        search = [os.path.dirname(source), *variables.get("ansible_search_path", [])]
        templar = self._templar.copy_with_new_env(searchpath=search, available_variables=variables)
        overrides = {"trim_blocks": True, "lstrip_blocks": True}
        return str(templar.template(text, escape_backslashes=False, overrides=overrides) or "")

    def _execute(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module("component", module_args=arguments, task_vars=variables)
        # What was sent holds whole files; nothing of it belongs into a log.
        result.pop("invocation", None)
        return result

    def _push_package(self, entry: Entry) -> str:
        """Bring the requirements and the code of a Python application to the host."""
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        remote = self._connection._shell.join_path(self._connection._shell.tmpdir, f"{entry.name}.tar.gz")
        self._transfer_data(remote, PROJECT.package(entry).content)
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        return str(remote)

    def _push_archive(self, artefact: Artefact, name: str, arch: str) -> str:
        """Fetch the archive on the controller, once for all hosts, and bring it to this one."""
        source = artefact.sources.get(arch)
        if source is None:
            raise CatalogueError(f"{name} {artefact.version} has no checksum for {arch} in the lock file")
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "watchkeeper"
        archive = cache / f"{name}-{artefact.version}-{arch}-{source.sha256 or 'unpinned'}"
        if not archive.exists() or not source.sha256:
            cache.mkdir(parents=True, exist_ok=True)
            part = archive.with_suffix(f".{os.getpid()}.part")
            try:
                opener = functools.partial(open_url, http_agent="watchkeeper", follow_redirects="all")
                sha256 = download(source.url, part, artefact.timeout, opener)
                if source.sha256 not in ("", sha256):
                    raise ReleaseError(f"{source.url} has SHA-256 {sha256}, but the lock file says {source.sha256}")
                part.replace(archive)
            finally:
                part.unlink(missing_ok=True)
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        remote = self._connection._shell.join_path(self._connection._shell.tmpdir, archive.name)
        self._transfer_file(str(archive), remote)
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        return str(remote)


def _other(name: str, other: str) -> str:
    """Return the name of another component of the catalogue."""
    try:
        return PROJECT.entry(other).name
    except CatalogueError as error:
        raise DeclarationError(f"component {name}: replaces: {error}") from error


def _endpoint(name: str, text: str) -> Endpoint:
    address, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or not 0 < int(port) < 65536:
        raise DeclarationError(f"component {name}: listen: {text!r} is not of the form address:port")
    return Endpoint(address.strip("[]"), int(port))


def _local(endpoint: Endpoint) -> str:
    """Return where the program answers on its own host."""
    own = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    address = own.get(endpoint.address, endpoint.address)
    return f"[{address}]:{endpoint.port}" if ":" in address else f"{address}:{endpoint.port}"


def _page(entry: Entry, args: dict[str, Any], variables: dict[str, Any]) -> str:
    """Return the address that a person types, for the closing table."""
    if not args["listen"]:
        return ""
    endpoint = _endpoint(entry.name, args["listen"][0])
    host = endpoint.address
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        names = ("watchkeeper_public_address", "watchkeeper_address", "ansible_host", "inventory_hostname")
        host = next(str(variables[name]) for name in names if variables.get(name))
    path = args["url"] or entry.ui or entry.metrics_path
    return f"http://{host}:{endpoint.port}{path}" if ":" not in host else f"http://[{host}]:{endpoint.port}{path}"
