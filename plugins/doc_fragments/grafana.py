"""The options by which each module of Grafana reaches it, said once."""

from __future__ import annotations


class ModuleDocFragment:
    """What `extends_documentation_fragment: [grafana]` stands for."""

    DOCUMENTATION = r"""
options:
  url:
    description: Where Grafana answers, with the path under which it is served if there is one.
    type: str
    default: http://127.0.0.1:3000
  token:
    description: Token of a service account. It belongs to one organisation. One of this, O(password) and
      O(password_file) is needed.
    type: str
  username:
    description: Account that O(password) or O(password_file) belongs to.
    type: str
    default: admin
  password:
    description: The account's password.
    type: str
  password_file:
    description: File with the account's password on the host where the module runs.
    type: path
  organization:
    description: Number of the organisation to work in, for this task alone. Left out, it is the account's own.
    type: int
  validate_certs:
    description: Whether Grafana's certificate has to be valid.
    type: bool
    default: true
  ca_path:
    description: File with the certificates of the authorities to trust, in PEM, on the host where the module runs.
    type: path
  timeout:
    description: Seconds that one request may take. A request that fails on the way, or with 429 or a server's error,
      is repeated up to five times; a longer wait that Grafana asks for is kept, up to a minute.
    type: int
    default: 30
"""
