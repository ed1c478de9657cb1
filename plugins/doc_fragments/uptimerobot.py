"""The options by which each module of UptimeRobot reaches it, said once."""

from __future__ import annotations


class ModuleDocFragment:
    """What `extends_documentation_fragment: [uptimerobot]` stands for."""

    DOCUMENTATION = r"""
options:
  api_key:
    description: Key of the account. The main key may everything; a read-only key is enough in check mode and for what
      only reads. Left out, it is the environment's E(UPTIMEROBOT_API_KEY) where the module runs.
    type: str
    required: true
  url:
    description: Where the API v3 answers. Left out, it is the environment's E(UPTIMEROBOT_API_URL) if that is set.
    type: str
    default: https://api.uptimerobot.com/v3
  validate_certs:
    description: Whether the certificate of the API has to be valid.
    type: bool
    default: true
  ca_path:
    description: File with the certificates of the authorities to trust, in PEM, on the host where the module runs.
    type: path
  timeout:
    description: Seconds that one request may take. A request that only reads or removes is repeated up to five times
      where it fails on the way or by a server's error; one that creates or changes is not.
    type: int
    default: 30
  rate_limit_wait:
    description:
      - Seconds that the task may wait in all for the account's limit of requests, which is 10 a minute on the free
        plan. The module keeps to what is left in a minute, and repeats what was refused with 429. Where the waits would
        take longer, the task fails and says so; the next run goes on where it ended.
      - Each wait is a line in the log of the host, and the result says how long all of them were.
    type: int
    default: 600
  progress_file:
    description: File on the host where the module runs that gets a line for each wait, if it is there. A task sets it
      itself where its waits are shown while it runs.
    type: path
"""
