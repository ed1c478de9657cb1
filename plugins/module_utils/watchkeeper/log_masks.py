r"""What never leaves a host in its logs, unless `watchkeeper_log_masks` says otherwise.

Each expression is RE2's (Go's), and what its groups capture is replaced. JSON stays JSON: a value ends before a
quotation mark, and a backslash is taken with the character after it or not at all. Where several masks fit, each works
on what those before it have left. `\x22` is a quotation mark, `\x27` an apostrophe.
"""

from __future__ import annotations

_KEYS = r"(?:api|access|private|secret|auth|signing|encryption)[_-]?key"
_SECRETS = rf"(?:secret|token|jwt|{_KEYS})(?:[_-]?hash)?"
_PASSWORD = r"pass(?:word|wd|phrase)(?:[_-]?hash)?"  # noqa: S105 - how one is recognised
_ALL = rf"(?:{_SECRETS}|{_PASSWORD})"
# Brackets and full stops behind a value belong to the text around it.
_VALUE = r"([^\s\x22\x27\\;&=][^\s\x22\x27\\;&]*?)[)\]},.]*(?:[\s\x22\x27\\;&]|\z)"
_KNOWN = (
    "gh[opsur]_[A-Za-z0-9]{20,}",
    "github_pat_[A-Za-z0-9_]{22,}",
    "glpat-[A-Za-z0-9_-]{20,}",
    # Slack
    "xox[abeoprs]-[A-Za-z0-9-]{10,}",
    "xapp-[A-Za-z0-9-]{10,}",
    # Stripe
    "[rs]k_(?:live|test)_[A-Za-z0-9]{10,}",
    "whsec_[A-Za-z0-9+/]{16,}",
    # OpenAI, Anthropic and their like
    "sk-(?:proj|ant|svcacct|admin|or)-[A-Za-z0-9_-]{20,}",
    "sk-[A-Za-z0-9]{32,}",
    # Google
    "AIza[A-Za-z0-9_-]{35}",
    r"ya29\.[A-Za-z0-9_-]{20,}",
    # SendGrid
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "npm_[A-Za-z0-9]{36}",
    "pypi-AgE[A-Za-z0-9_-]{16,}",
    # Vault
    r"hv[bs]\.[A-Za-z0-9_-]{20,}",
    # Grafana
    "gl(?:sa|c)_[A-Za-z0-9+/_=]{20,}",
    # DigitalOcean
    "dop_v1_[a-f0-9]{64}",
    # Shopify
    "shpat_[a-fA-F0-9]{32}",
    # Telegram
    "[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
)

EXPRESSIONS: dict[str, str] = {
    # The body of a private key; over several lines where the source joins them.
    "private_key": (
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----((?:[^\x22\\]|\\[^\x22])+?)(?:-----END|\\?\x22|\z)"
    ),
    # Without one of the schemes a value is long, unlike a word of a sentence.
    "authorization": (
        r"(?i)\bauthorization(?:\\*[\x22\x27])?\s*[:=]\s*(?:\\*[\x22\x27])?"
        r"(?:(?:bearer|basic|token|apikey|negotiate|digest)\s+([^\s\x22\x27\\,;&]{6,})|([^\s\x22\x27\\,;&]{16,}))"
    ),
    "key_header": (
        r"(?i)\b(?:x-api-key|x-auth-token|x-vault-token|x-amz-security-token|private-token)\s*:\s*([^\s\x22\x27\\,;&]+)"
    ),
    "bearer": r"(?i)\bbearer(?:\s+|%20)([A-Za-z0-9._~+/-]{20,}=*)",
    "basic": r"(?i)\bbasic(?:\s+|%20)([A-Za-z0-9+/]{8,}={1,2})",
    "jwt": r"\b(eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){1,4})",
    # Texts alone: without its number a line would be no JSON.
    "json_value": rf"(?i){_ALL}\x22\s*:\s*\x22((?:[^\x22\\]|\\.)+)\x22",
    # JSON as a text inside of JSON.
    "nested_json_value": rf"(?i){_ALL}\\+\x22\s*:\s*\\+\x22([^\x22\\]+)",
    # Objects as JavaScript and Python show them.
    "shown_object": rf"(?i){_ALL}\x27?:\s?(?:\\*\x22([^\x22\\]{{4,}})\\*\x22|\x27([^\x27\x22\\]{{4,}})\x27)",
    # Query strings, options and connection strings.
    "key_value": (
        rf"(?i)(?:{_SECRETS}=|{_PASSWORD}(?:=|[ \t]=[ \t]))(?:\\*\x22([^\x22\\]+)|\x27([^\x27\x22\\]+)|{_VALUE})"
    ),
    # Not the working directory, which sudo logs under the same name.
    "pwd": r"(?i)pwd=([^\s\x22\x27\\;&/~=][^\s\x22\x27\\;&]*)",
    "signed_url": r"(?i)[?&](?:sig|x-amz-signature|x-goog-signature)=([^&\s\x22\x27\\]+)",
    "url_password": r"(?i)\b[a-z][a-z0-9+.-]*://[^\s/:@?#\x22\x27\\]*:([^\s/?#\x22\x27\\]+)@",
    "aws_access_key": r"\b((?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})\b",
    "known_token": rf"\b({'|'.join(_KNOWN)})",
    "slack_webhook": r"hooks\.slack\.com/services/([A-Za-z0-9/_-]+)",
}

DEFAULTS: list[dict[str, str]] = [{"name": name, "expression": text} for name, text in EXPRESSIONS.items()]
