"""What Alloy's reference allows in the blocks that the project writes, and a reader of its syntax.

The table stands for the reference pages of the components and configuration blocks of Alloy 1.18: attributes, whether
they must be there, the form of their values, and the blocks inside. It is written by hand and knows nothing of the code
that it judges. What is not in it is refused, as `alloy validate` refuses it; what the reference calls experimental is
not in it, since that would need `--stability.level`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.watchkeeper.log_sources import LogSourceError, compile_expression

# Reading


class SyntaxRefusedError(ValueError):
    """A document that Alloy could not read."""


@dataclass(frozen=True)
class Reference:
    """Something that another component exports: its component, its label and the export."""

    component: str
    label: str
    export: str


@dataclass(frozen=True)
class Block:
    """One block as it was read. Attributes and blocks are kept in their order."""

    name: str
    label: str
    attributes: dict[str, Any] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def inner(self, name: str) -> list[Block]:
        """The blocks of a name inside of this one."""
        return [block for block in self.blocks if block.name == name]


_TOKEN = re.compile(
    r'(?P<space>[ \t\r]+|//[^\n]*)|(?P<end>\n)|(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<number>\d+)'
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>[{}\[\]=,.])",
    re.ASCII,
)
_ESCAPE = re.compile(
    r'\\(?:(?P<one>[abfnrtv\\"])|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<o>[0-7]{3}))'
)
_SINGLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}


def unquote(text: str) -> str:
    """Return the value of a string literal; escapes are those of Go."""
    found, index, inside = bytearray(), 0, text[1:-1]
    while index < len(inside):
        char = inside[index]
        if char != "\\":
            if char in ("\x00", "\ufeff"):
                raise SyntaxRefusedError(f"a character that must not stand in a document: {char!r}")
            found += char.encode()
            index += 1
            continue
        match = _ESCAPE.match(inside, index)
        if not match:
            raise SyntaxRefusedError(f"an unknown escape: {inside[index : index + 2]!r}")
        if match["one"]:
            found += _SINGLE[match["one"]].encode()
        elif match["x"] or match["o"]:
            # A byte, not a character.
            found.append(int(match["x"], 16) if match["x"] else int(match["o"], 8))
        else:
            code = int(match["u"] or match["U"], 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise SyntaxRefusedError(f"an escape that is no character: {match[0]!r}")
            found += chr(code).encode()
        index = match.end()
    return found.decode()


class _Reader:
    """Reads statements from tokens; lines end statements, as they do in Alloy."""

    def __init__(self, text: str) -> None:
        self.tokens, self.index = list(self._scan(text)), 0

    @staticmethod
    def _scan(text: str) -> Iterator[tuple[str, str]]:
        index = 0
        while index < len(text):
            match = _TOKEN.match(text, index)
            if not match:
                raise SyntaxRefusedError(f"unreadable: {text[index : index + 30]!r}")
            if match.lastgroup != "space":
                yield str(match.lastgroup), match[0]
            index = match.end()

    def peek(self, skip_lines: bool = False) -> tuple[str, str]:
        while skip_lines and self.index < len(self.tokens) and self.tokens[self.index][0] == "end":
            self.index += 1
        return self.tokens[self.index] if self.index < len(self.tokens) else ("eof", "")

    def take(self, wanted: str = "", skip_lines: bool = False) -> str:
        kind, text = self.peek(skip_lines)
        if wanted not in ("", kind, text):
            raise SyntaxRefusedError(f"{wanted} expected, not {text!r}")
        self.index += 1
        return text

    def body(self, closing: str) -> tuple[dict[str, Any], list[Block]]:
        attributes: dict[str, Any] = {}
        blocks: list[Block] = []
        while self.peek(skip_lines=True)[1] != closing:
            name = self.take("name")
            while self.peek()[1] == ".":
                self.take()
                name += "." + self.take("name")
            if self.peek()[1] == "=":
                self.take()
                if name in attributes:
                    raise SyntaxRefusedError(f"{name} stands there twice")
                attributes[name] = self.value()
            else:
                label = unquote(self.take("text")) if self.peek()[0] == "text" else ""
                if label and not re.fullmatch(r"[A-Za-z_]\w*", label, re.ASCII):
                    raise SyntaxRefusedError(f"a label must be an identifier: {label!r}")
                self.take("{")
                blocks.append(Block(name, label, *self.body("}")))
                self.take("}")
            if self.peek()[0] != "eof":
                self.take("end")
        return attributes, blocks

    def value(self) -> Any:
        kind, text = self.peek(skip_lines=True)
        self.index += 1
        if kind == "text":
            return unquote(text)
        if kind == "number":
            return int(text)
        if text in ("true", "false"):
            return text == "true"
        if kind == "name":
            words = [text]
            while self.peek()[1] == ".":
                self.take()
                words.append(self.take("name"))
            if len(words) < 3:
                raise SyntaxRefusedError(f"no component exports {'.'.join(words)}")
            return Reference(".".join(words[:-2]), words[-2], words[-1])
        if text == "[":
            return list(self.items("]", self.value))
        if text == "{":
            pairs = list(self.items("}", self.pair))
            if len(dict(pairs)) < len(pairs):
                raise SyntaxRefusedError(f"a key stands there twice: {[name for name, _ in pairs]}")
            return dict(pairs)
        raise SyntaxRefusedError(f"a value expected, not {text!r}")

    def pair(self) -> tuple[str, Any]:
        kind, text = self.peek(skip_lines=True)
        if kind not in ("name", "text") or text in ("true", "false", "null"):
            raise SyntaxRefusedError(f"a key expected, not {text!r}")
        self.take()
        self.take("=")
        return unquote(text) if kind == "text" else text, self.value()

    def items(self, closing: str, read: Callable[[], Any]) -> Iterator[Any]:
        while self.peek(skip_lines=True)[1] != closing:
            yield read()
            # The last item of several lines needs its comma, too.
            if self.peek()[1] != closing:
                self.take(",")
        self.take(closing, skip_lines=True)


def parse(text: str) -> list[Block]:
    """Return the blocks of a document."""
    attributes, blocks = _Reader(text).body("")
    if attributes:
        raise SyntaxRefusedError(f"attributes outside of a block: {', '.join(attributes)}")
    return blocks


# Judging

LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
# Judges a value and returns what it should be, or nothing.
Form = Callable[[Any], str]


def text(pattern: str = r"(?s).*") -> Form:
    """A text that fits an expression as a whole."""
    return lambda value: "" if isinstance(value, str) and re.fullmatch(pattern, value) else f"a text like {pattern}"


def flag(value: Any) -> str:
    """True or false."""
    return "" if isinstance(value, bool) else "true or false"


def number(value: Any) -> str:
    """A whole number from 0."""
    return "" if isinstance(value, int) and not isinstance(value, bool) else "a number"


def expression(value: Any) -> str:
    """A regular expression in the syntax of RE2, which is Go's."""
    try:
        compile_expression(value)
    except (LogSourceError, TypeError):
        return "a regular expression"
    return "" if value else "a regular expression that is not empty"


def several(form: Form, least: int = 0) -> Form:
    """A list."""

    def judge(value: Any) -> str:
        if not isinstance(value, list) or len(value) < least:
            return f"a list of at least {least}"
        return next((wrong for item in value if (wrong := form(item))), "")

    return judge


def mapping(form: Form, keys: str = r"(?s).+") -> Form:
    """A mapping whose keys fit an expression."""

    def judge(value: Any) -> str:
        if not isinstance(value, dict) or not value or not all(re.fullmatch(keys, key) for key in value):
            return f"a mapping with keys like {keys}"
        return next((wrong for item in value.values() if (wrong := form(item))), "")

    return judge


def exported(*exports: str) -> Form:
    """What a component exports under one of these names."""
    return lambda value: (
        "" if isinstance(value, Reference) and value.export in exports else f"a reference to {' or '.join(exports)}"
    )


def either(*forms: Form) -> Form:
    """One of several forms."""

    def judge(value: Any) -> str:
        wrong = [form(value) for form in forms]
        return "" if "" in wrong else " or ".join(wrong)

    return judge


PLAIN, SECRET = text(), either(text(), exported("content"))
DURATION = text(r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+")
SIZE = text(r"\d+(\.\d+)?([KMGT]i?)?B")
RECEIVERS = several(exported("receiver"))
RULES = exported("rules")
TARGETS = either(several(mapping(PLAIN), 1), exported("targets", "output"))
LABELS = mapping(PLAIN, LABEL)


@dataclass(frozen=True)
class Shape:
    """What may stand in a block: attributes, those that must, blocks, and whether each block may stand there again."""

    attributes: Mapping[str, Form] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    blocks: Mapping[str, Shape] = field(default_factory=dict)
    repeated: bool = False
    least: int = 0


def shape(
    blocks: Mapping[str, Shape] | None = None,
    repeated: bool = False,
    more: Mapping[str, Form] | None = None,
    **attributes: Form,
) -> Shape:
    """The shape of a block; attributes that must be there end in an underscore, `more` are those of a shared page."""
    names = {name.removesuffix("_"): judge for name, judge in attributes.items()}
    must = frozenset(name.removesuffix("_") for name in attributes if name.endswith("_"))
    return Shape({**names, **(more or {})}, must, blocks or {}, repeated)


HTTP_CLIENT: dict[str, Form] = {
    "bearer_token": SECRET,
    "bearer_token_file": PLAIN,
    "enable_http2": flag,
    "follow_redirects": flag,
    "http_headers": mapping(several(SECRET)),
    "no_proxy": PLAIN,
    "proxy_connect_header": mapping(several(SECRET)),
    "proxy_from_environment": flag,
    "proxy_url": PLAIN,
}
TLS = shape(
    ca_file=PLAIN,
    ca_pem=PLAIN,
    cert_file=PLAIN,
    cert_pem=PLAIN,
    insecure_skip_verify=flag,
    key_file=PLAIN,
    key_pem=SECRET,
    min_version=PLAIN,
    server_name=PLAIN,
)
HTTP_BLOCKS = {
    "authorization": shape(type=PLAIN, credentials=SECRET, credentials_file=PLAIN),
    "basic_auth": shape(username=PLAIN, password=SECRET, password_file=PLAIN),
    "tls_config": TLS,
}
RULE = shape(
    repeated=True,
    action=text("replace|keep|drop|hashmod|labelmap|labeldrop|labelkeep|lowercase|uppercase|keepequal|dropequal"),
    modulus=number,
    regex=expression,
    replacement=PLAIN,
    separator=PLAIN,
    source_labels=several(text(LABEL)),
    target_label=text(LABEL),
)
STAGES: dict[str, Shape] = {
    "stage.json": shape(repeated=True, expressions=mapping(PLAIN), regex=expression, source=PLAIN, drop_malformed=flag),
    "stage.labels": shape(repeated=True, values=LABELS, source_type=text("extracted|structured_metadata")),
    "stage.multiline": shape(
        repeated=True, firstline_=expression, max_lines=number, max_wait_time=DURATION, trim_newlines=flag
    ),
    "stage.regex": shape(repeated=True, expression_=expression, source=PLAIN, labels_from_groups=flag),
    "stage.replace": shape(repeated=True, expression_=expression, replace=PLAIN, source=PLAIN),
    "stage.static_labels": shape(repeated=True, values=LABELS),
    "stage.structured_metadata": shape(repeated=True, values=LABELS, regex=expression),
    "stage.template": shape(repeated=True, source_=text(".+"), template_=PLAIN),
    "stage.timestamp": shape(
        repeated=True,
        source_=text(".+"),
        format_=text(".+"),
        fallback_formats=several(text(".+")),
        location=PLAIN,
        action_on_failure=text("fudge|skip"),
        action_on_duplicate_timestamp=text("fudge|keep"),
    ),
}
# A pipeline for some lines holds further stages.
STAGES["stage.match"] = Shape(
    {
        "selector": text(r"(?s)\{.+\}.*"),
        "action": text("keep|drop"),
        "drop_counter_reason": PLAIN,
        "pipeline_name": PLAIN,
    },
    frozenset({"selector"}),
    STAGES,
    repeated=True,
    least=1,
)
ENDPOINT = shape(
    HTTP_BLOCKS,
    repeated=True,
    url_=text(r"https?://[^\s]+"),
    batch_size=SIZE,
    batch_wait=DURATION,
    headers=mapping(PLAIN),
    max_backoff_period=DURATION,
    max_backoff_retries=number,
    min_backoff_period=DURATION,
    name=PLAIN,
    remote_timeout=DURATION,
    retry_on_http_429=flag,
    tenant_id=PLAIN,
    more=HTTP_CLIENT,
)
# Blocks of the configuration itself: once, without a label.
CONFIGURATION: dict[str, Shape] = {
    "logging": shape(
        level=text("error|warn|info|debug"), format=text("logfmt|json"), destination=PLAIN, write_to=RECEIVERS
    ),
    "http": shape(
        {
            "auth": shape(
                {
                    "basic": shape(username_=PLAIN, password_=SECRET),
                    "filter": shape(paths=several(text("/.*")), authenticate_matching_paths=flag),
                }
            ),
        }
    ),
}
# Components: each with a label of its own.
COMPONENTS: dict[str, Shape] = {
    "local.file": shape(
        filename_=text("[{/].+"), detector=text("fsnotify|poll"), is_secret=flag, poll_frequency=DURATION
    ),
    "discovery.docker": shape(
        {**HTTP_BLOCKS, "filter": shape(repeated=True, name_=PLAIN, values_=several(PLAIN))},
        host_=text(r"(unix|tcp|https?)://.+"),
        host_networking_host=PLAIN,
        match_first_network=flag,
        port=number,
        refresh_interval=DURATION,
        more=HTTP_CLIENT,
    ),
    "discovery.relabel": shape({"rule": RULE}, targets_=TARGETS),
    "loki.relabel": shape({"rule": RULE}, forward_to_=RECEIVERS, max_cache_size=number),
    "loki.source.file": shape(
        {
            "decompression": shape(enabled_=flag, format_=text("gz|z|bz2"), initial_delay=DURATION),
            "file_match": shape(enabled=flag, ignore_older_than=DURATION, sync_period=DURATION),
            "file_watch": shape(max_poll_frequency=DURATION, min_poll_frequency=DURATION),
        },
        forward_to_=RECEIVERS,
        targets_=TARGETS,
        encoding=PLAIN,
        legacy_positions_file=PLAIN,
        on_positions_file_error=text("skip|restart_from_end|restart_from_beginning"),
        tail_from_end=flag,
    ),
    "loki.source.journal": shape(
        {"legacy_position": shape(file_=PLAIN, name_=PLAIN)},
        forward_to_=RECEIVERS,
        format_as_json=flag,
        labels=LABELS,
        matches=text(r"[^\s=]+=[^\s=]+( [^\s=]+=[^\s=]+)*"),
        max_age=DURATION,
        path=PLAIN,
        relabel_rules=RULES,
    ),
    # The page calls `labels` required and gives it a default.
    "loki.source.docker": shape(
        {"http_client_config": shape(HTTP_BLOCKS, more=HTTP_CLIENT)},
        forward_to_=RECEIVERS,
        host_=text(r"(unix|tcp|https?)://.+"),
        labels=LABELS,
        targets_=TARGETS,
        refresh_interval=DURATION,
        relabel_rules=RULES,
    ),
    "loki.process": shape(STAGES, forward_to_=RECEIVERS),
    "loki.write": shape({"endpoint": ENDPOINT}, external_labels=LABELS, max_streams=number),
}
EXPORTS = {
    "local.file": {"content"},
    "discovery.docker": {"targets"},
    "discovery.relabel": {"output", "rules"},
    "loki.relabel": {"receiver", "rules"},
    "loki.process": {"receiver"},
    "loki.write": {"receiver"},
}


def references(value: Any) -> Iterator[Reference]:
    """Yield every reference in a value."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from references(item)


def _judge(block: Block, wanted: Shape, path: str) -> Iterator[str]:
    for name, value in block.attributes.items():
        if name not in wanted.attributes:
            yield f"{path}: there is no attribute {name}"
        elif wrong := wanted.attributes[name](value):
            yield f"{path}: {name} is {value!r}, not {wrong}"
    for name in sorted(wanted.required - set(block.attributes)):
        yield f"{path}: {name} is missing"
    if len(block.blocks) < wanted.least:
        yield f"{path}: a block is missing"
    seen: set[str] = set()
    for inner in block.blocks:
        if inner.name not in wanted.blocks or inner.label:
            yield f"{path}: there is no block {inner.name} {inner.label}".rstrip()
            continue
        if inner.name in seen and not wanted.blocks[inner.name].repeated:
            yield f"{path}: {inner.name} stands there twice"
        seen.add(inner.name)
        yield from _judge(inner, wanted.blocks[inner.name], f"{path} > {inner.name}")


def _everything(block: Block) -> Iterator[Any]:
    yield from block.attributes.values()
    for inner in block.blocks:
        yield from _everything(inner)


def problems(document: str) -> list[str]:
    """Return what Alloy would refuse in a document, or nothing."""
    try:
        blocks = parse(document)
    except SyntaxRefusedError as error:
        return [str(error)]
    found: list[str] = []
    known: set[tuple[str, str]] = set()
    for block in blocks:
        path = f"{block.name} {block.label}".rstrip()
        if (block.name, block.label) in known:
            found.append(f"{path}: stands there twice")
        known.add((block.name, block.label))
        forms = COMPONENTS if block.label else CONFIGURATION
        if block.name in forms:
            found += _judge(block, forms[block.name], path)
        else:
            found.append(f"{path}: there is no such {'component' if block.label else 'block'}")
    for block in blocks:
        for value in _everything(block):
            for reference in references(value):
                if (reference.component, reference.label) not in known:
                    found.append(f"{block.name} {block.label}: {reference} does not exist")
                elif reference.export not in EXPORTS.get(reference.component, set()):
                    found.append(f"{block.name} {block.label}: {reference} is not exported")
    return found
