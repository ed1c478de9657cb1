"""The options by which each module of an error tracker reaches it, said once."""

from __future__ import annotations


class ModuleDocFragment:
    """What `extends_documentation_fragment: [error_tracker]` stands for."""

    DOCUMENTATION = r"""
options:
  url:
    description: Where the error tracker answers, without C(/api); C(https://sentry.io) or C(https://de.sentry.io) for
      Sentry as a service.
    type: str
    required: true
  kind:
    description: Whose API it is.
    type: str
    choices: [sentry, bugsink]
    default: sentry
  token:
    description: Token of the API. On Sentry it has the scopes C(org:read), C(team:write), C(project:admin),
      C(project:releases) and C(alerts:write), or those of them that the task needs. One of this and O(token_file) is
      needed.
    type: str
  token_file:
    description: File with the token on the host where the module runs.
    type: path
  organization:
    description: Slug of the organisation. Sentry needs it, Bugsink has none.
    type: str
  validate_certs:
    description: Whether the tracker's certificate has to be valid.
    type: bool
    default: true
  ca_path:
    description: File with the certificates of the authorities to trust, in PEM, on the host where the module runs.
    type: path
  timeout:
    description: Seconds that one request may take. A request that fails on the way, or with 429 or a server's error,
      is repeated up to five times if that cannot do something twice; a longer wait that the tracker asks for is kept,
      up to a minute.
    type: int
    default: 30
"""
