#!/usr/bin/python
"""Give nginx a status page on loopback, and never a configuration that it refuses."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_stub_status
short_description: Give nginx a status page on loopback, or take it away
version_added: "0.1.0"
description:
  - Writes a server of its own into nginx's configuration, which listens on 127.0.0.1 and serves C(/stub_status) to this
    host alone.
  - nginx tests its whole configuration with the new file in it. Then it is reloaded and has to serve the page. If it
    refuses or does not, the file is put back as it was and the task fails with nginx's words.
  - A nginx that is stopped stays stopped, and serves the page when it is started.
options:
  state:
    description: V(absent) removes the file, unless it was not written by this module.
    type: str
    choices: [present, absent]
    default: present
  port:
    description: TCP port on 127.0.0.1.
    type: int
    default: 8999
  path:
    description: The file. Its folder must be one that nginx's configuration includes.
    type: path
    default: /etc/nginx/conf.d/watchkeeper_stub_status.conf
  program:
    description: nginx, and the options that every call of it needs.
    type: list
    elements: str
    default: [nginx]
author:
  - The Watchkeeper authors
attributes:
  check_mode:
    description: Says what would change, on a host without nginx too.
    support: full
  diff_mode:
    description: Shows the file.
    support: full
"""

EXAMPLES = r"""
- name: Give nginx its status page
  nginx_stub_status:
    port: 8999
"""

RETURN = r"""
running:
  description: Whether nginx runs and serves the page.
  returned: O(state=present), outside of check mode
  type: bool
"""

import re
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.watchkeeper.probe import http_get, port_taken

MARK = "# Managed by Watchkeeper"
CONTENT = (
    MARK
    + """: changes made here are undone by the next run.
server {
    listen 127.0.0.1:%d;
    access_log off;
    location = /stub_status {
        stub_status;
        allow 127.0.0.1;
        deny all;
    }
    location / {
        return 404;
    }
}
"""
)
PAGE_SECONDS = 10
# What `nginx -s reload` says when there is no process to tell.
STOPPED = re.compile(r"invalid PID number|open\(\) .* failed \(2:|kill\(.* failed \(3:")


class RefusedError(Exception):
    """nginx does not take the configuration; the message holds its words."""


class Page:
    """The status page: its file, and the nginx that has to serve it."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.path = Path(module.params["path"])
        self.port: int = module.params["port"]
        program, *options = module.params["program"]
        folders = ["/usr/sbin", "/usr/local/sbin", "/usr/local/nginx/sbin"]
        self.program: str = module.get_bin_path(program, opt_dirs=folders) or ""
        self.options = options

    def read(self) -> str:
        """Return what the file holds, nothing when it is not there."""
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def write(self, content: str) -> None:
        """Put content in place at once; empty content is no file."""
        if not content:
            self.path.unlink()
            return
        candidate = Path(self.module.tmpdir, self.path.name)
        candidate.write_text(content, encoding="utf-8")
        candidate.chmod(0o644)
        self.module.atomic_move(str(candidate), str(self.path))

    def served(self) -> bool:
        """Tell whether nginx serves the page."""
        try:
            status, body = http_get(f"http://127.0.0.1:{self.port}/stub_status")
        except OSError:
            return False
        return status == 200 and body.startswith("Active connections:")

    def nginx(self, *options: str) -> tuple[int, str, str]:
        """Run nginx; return its exit code and both outputs."""
        code, output, errors = self.module.run_command([self.program, *self.options, *options])
        return code, output, errors.strip()

    def test(self, present: bool) -> None:
        """Have nginx test its whole configuration, which must include the file where there is to be one."""
        code, configuration, errors = self.nginx("-T")
        if code:
            raise RefusedError(f"nginx refuses its configuration:\n{errors}")
        if present and f"# configuration file {self.path}:" not in configuration:
            raise RefusedError(f"nginx's configuration does not include {self.path.parent}/*.conf")

    def reload(self) -> bool:
        """Have nginx read its configuration again; return whether it runs at all."""
        code, _output, errors = self.nginx("-s", "reload")
        if code and STOPPED.search(errors):
            return False
        if code:
            raise RefusedError(f"nginx could not be reloaded:\n{errors}")
        return True

    def come(self) -> None:
        """Wait until the page is served."""
        deadline = time.monotonic() + PAGE_SECONDS
        while not self.served():
            if time.monotonic() > deadline:
                raise RefusedError(
                    f"nginx was reloaded, but did not serve http://127.0.0.1:{self.port}/stub_status within "
                    f"{PAGE_SECONDS} s; its error log says why"
                )
            time.sleep(0.1)

    def free(self) -> None:
        """Make sure that nobody else has the port: nginx's own test does not see that."""
        holder = port_taken("127.0.0.1", self.port)
        if holder:
            raise RefusedError(
                f"port {self.port} is taken by {holder}; set nginx_exporter_stub_status_port to another one, or "
                "nginx_exporter_stub_status to unmanaged and nginx_exporter_scrape_urls to the page that is there"
            )

    def replace(self, old: str, new: str) -> bool:
        """Bring new content into effect and return whether nginx runs; raise RefusedError with everything as it was."""
        if old != new:
            self.write(new)
        running = False
        try:
            self.test(bool(new))
            running = self.reload()
            if running and new:
                self.come()
        except RefusedError:
            if old != new:
                self.write(old)
            if running:
                self.nginx("-s", "reload")
            raise
        return running


def absent(page: Page, old: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Remove the file, if it is ours."""
    if not old.startswith(MARK):
        return {"changed": False}
    if not page.module.check_mode:
        if page.program:
            page.replace(old, "")
        else:
            page.write("")
    return {**answer, "changed": True}


def present(page: Page, old: str, new: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Write the file and see the page served."""
    if old == new and page.served():
        return {"changed": False, "running": True}
    if page.module.check_mode:
        return {**answer, "changed": old != new}
    if not page.program or not page.path.parent.is_dir():
        lacks = "nginx is not installed" if not page.program else f"there is no folder {page.path.parent}"
        raise RefusedError(
            f"{lacks} on this host. Install nginx, or set nginx_exporter_stub_status to unmanaged and "
            "nginx_exporter_scrape_urls to the page that is there"
        )
    if old != new and f"127.0.0.1:{page.port};" not in old:
        page.free()
    running = page.replace(old, new)
    return {**answer, "changed": old != new or running, "running": running}


def main() -> None:
    """Do it, or leave everything as it was."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "port": {"type": "int", "default": 8999},
            "path": {"type": "path", "default": "/etc/nginx/conf.d/watchkeeper_stub_status.conf"},
            "program": {"type": "list", "elements": "str", "default": ["nginx"]},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C"}
    page = Page(module)
    old = page.read()
    new = CONTENT % page.port if module.params["state"] == "present" else ""
    header = str(page.path)
    answer = {"diff": {"before": old, "after": new, "before_header": header, "after_header": header}}
    try:
        done = present(page, old, new, answer) if new else absent(page, old, answer)
    except RefusedError as error:
        module.fail_json(msg=f"{error}\n{page.path} is as it was before.")
    module.exit_json(**done)


if __name__ == "__main__":
    main()
