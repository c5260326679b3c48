"""Removes secrets from exports, by pattern, and reports what it removed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from laguna_agent.events import Event, Reply, SystemPrompt, UserMessage
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.meta import Meta, title_of
from laguna_agent.trajectory.replay import Source

_GITHUB = (
    r"gh[pousr]_[A-Za-z0-9]{36,255}?(?=gh[pousr]_|[^A-Za-z0-9]|\Z)|github_pat_[A-Za-z0-9_]{40,}"
)
_KEY = (
    r"(?i:pass(?:word|wd|phrase)|secret|token|credential|api[_-]?key|access[_-]?key|"
    r"account[_-]?key|private[_-]?key|secret[_-]?key|signing[_-]?key|encryption[_-]?key)"
)
"""What the name of a secret ends with: `DB_PASSWORD`, `clientSecret`, `x-api-key`."""
_KEPT = r"(?!\[removed)"
_IN_QUOTES = (
    r"\\\"(?P<v1>(?:(?!\\\").)+?)\\\"|\"\"\"(?P<v2>.+?)\"\"\"|\"(?P<v3>(?:\\.|[^\"\\\n])+)\"|"
    r"'(?P<v4>(?:\\.|[^'\\\n])+)'|`(?P<v5>[^`\n]+)`"
)
"""Values in quotes; the first are those of JSON in a string of JSON."""
_BLOCK = r"[|>][-+0-9]*[ \t]*\n(?P<v6>(?:[ \t]+\S[^\n]*(?:\n|\Z))+)"
"""A block of YAML: the lines below that are indented."""
_PLAIN_VALUE = r"(?P<v7>(?![\"'`]|[\w.]+\()[^\s\"',;(){}\[\]]{6,})"
_ANNOTATION = r"(?::\s*[A-Za-z_][\w.| \[\]]{0,60}?)?"
_ASSIGNED = (
    rf"{_KEY}(?![A-Za-z])\d*(?:\\?[\"'])?\s*(?:{_ANNOTATION}\s*(?::=|=>|={{1,3}})|:)\s*{_KEPT}"
    rf"(?:{_IN_QUOTES}|{_BLOCK}|(?P<v8>[^;\n\"'(){{}}\[\]]{{3,}})(?=;)|{_PLAIN_VALUE})"
)
_CODE = (
    r"(?!(?:str|string|int|bytes|bool|None|null|true|false|Optional|Any|SecretStr)\b|"
    r"[\"'`|>&*!$<])"
)
"""No value: a type, a constant, a quote, a reference."""
_LINE = (
    rf"(?m)^[ \t+>-]*(?:export )?[\"']?[\w.-]{{0,60}}{_KEY}\d*[\"']?(?::[ \t]+|[ \t]*=[ \t]*)"
    rf"{_KEPT}{_CODE}(?P<v9>[^\n(){{}}\[\]\"'`,;#]{{4,}}?)[ \t]*(?=\n|,|;|#|\Z)"
)
"""A line of YAML, `.env` or INI: the value goes to the end of the line."""
_NAMED_VALUE = (
    rf"(?m)name:[ \t]*[\"']?[\w.-]{{0,60}}{_KEY}\d*[\"']?[ \t]*\n[ \t]*value:[ \t]*+[\"']?"
    rf"{_KEPT}(?P<v10>[^\n\"']+)"
)
_OPTION = (
    rf"(?<![\w-])--?[\w-]{{0,40}}{_KEY}[ =]{_KEPT}(?!-)(?:{_IN_QUOTES}|(?P<v11>[^\s\"'`]{{4,}}))"
)
_LOGIN = r"\blogin[ \t]+\S+\s+password[ \t]++(?!\[removed)(?P<v12>\S+)"
"""A line of `.netrc`."""
_AUTHORIZATION = (
    r"(?i)(?:proxy-)?authorization(?:\\?[\"'])?\s*[:=]\s*(?:\\?[\"'])?"
    r"(?P<v13>(?:basic|bearer|token|digest|apikey) +[^\s\"'\\]{6,})"
)
_URL = r"(?<=://)[^\s/:@\"'`]{0,80}:[^\s/\"'`]{1,200}(?=@)|(?<=://)[A-Za-z0-9_-]{20,}(?=@)"
_SIGNATURE = r"(?i)(?<=[?&])(?:sig|x-amz-signature|signature|code)=(?P<v14>[^\s&\"'<>]{16,})"
_PATTERNS: tuple[tuple[str, str], ...] = (
    (
        "private key",
        (
            r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?"
            r"(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
        ),
    ),
    ("AWS key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("GitHub token", _GITHUB),
    ("GitLab token", r"\bgl(?:pat|dt|rt)-[A-Za-z0-9_-]{16,}"),
    ("Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("Slack webhook", r"https://hooks\.slack\.com/services/[A-Za-z0-9/]+"),
    ("API key", r"\bsk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{20,}"),
    ("Stripe key", r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("Google key", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("Hugging Face token", r"\bhf_[A-Za-z0-9]{30,}"),
    ("npm token", r"\bnpm_[A-Za-z0-9]{36}"),
    ("PyPI token", r"\bpypi-[A-Za-z0-9_-]{50,}"),
    ("JSON web token", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    ("password in a URL", _URL),
    ("signature in a URL", _SIGNATURE),
    ("authorization header", _AUTHORIZATION),
    ("bearer token", r"(?i)\bbearer +[A-Za-z0-9._~+/-]{16,}=*"),
    ("login", _LOGIN),
    ("assigned secret", _NAMED_VALUE),
    ("assigned secret", _LINE),
    ("assigned secret", _OPTION),
    ("assigned secret", _ASSIGNED),
)
_SECRET_NAME = re.compile(rf"{_KEY}\d*\Z")
_SHORTEST = 4
"""Characters of a value that has the name of a secret."""
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


@dataclass
class Redactor:
    """Replaces secrets; `counts` has the number of each kind."""

    counts: Counter[str] = field(default_factory=Counter)
    _patterns: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
        (kind, re.compile(pattern, re.DOTALL)) for kind, pattern in _PATTERNS
    )

    def text(self, text: str) -> str:
        """The text with `[removed: kind]` in place of secrets."""
        for kind, pattern in self._patterns:
            text = pattern.sub(lambda match, kind=kind: self._replace(match, kind), text)  # type: ignore[misc]  # bound by default
        return text

    def value(self, value: Any) -> Any:
        """A JSON value with every text in it redacted."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.value(item) for item in value]
            case dict():
                return {name: self._named(name, item) for name, item in value.items()}
            case _:
                return value

    def event(self, event: Event) -> Event:
        """An event without secrets, and without token ids, which would spell them."""
        cleaned = _ADAPTER.validate_python(self.value(event.model_dump()))
        if isinstance(cleaned, Reply):
            cleaned.token_ids = cleaned.prompt_token_ids = cleaned.logprobs = None
        elif isinstance(cleaned, SystemPrompt):
            cleaned.token_ids = None
        return cleaned

    def report(self) -> str:
        """What was removed, in one line."""
        if not self.counts:
            return "found nothing that looks like a secret; token ids were left out"
        what = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        return f"removed: {what}; token ids were left out, because they spell the text"

    def _named(self, name: str, value: Any) -> Any:
        # In {"password": "x"} name and value are apart, so that no pattern matches both.
        if isinstance(value, str) and len(value) >= _SHORTEST and _SECRET_NAME.search(name):
            self.counts["assigned secret"] += 1
            return "[removed: assigned secret]"
        return self.value(value)

    def _replace(self, match: re.Match[str], kind: str) -> str:
        self.counts[kind] += 1
        values = [name for name, value in match.groupdict().items() if value is not None]
        if not values:
            return f"[removed: {kind}]"
        start, end = match.span(values[0])
        whole, offset = match.group(), match.start()
        return f"{whole[: start - offset]}[removed: {kind}]{whole[end - offset :]}"


@dataclass(frozen=True)
class Redacted:
    """A `Source` whose events are redacted."""

    source: Source
    redactor: Redactor

    def events(self, start: int = 0, *, whole: bool = True) -> Iterator[StoredEvent]:
        """The events from number `start` on, without secrets."""
        for stored in self.source.events(start, whole=whole):
            yield stored._replace(event=self.redactor.event(stored.event))

    def of_type(self, kind: str, start: int = 0) -> Iterator[StoredEvent]:
        """The events of one type, without secrets."""
        for stored in self.source.of_type(kind, start):
            yield stored._replace(event=self.redactor.event(stored.event))


def redacted_meta(source: Redacted, meta: Meta) -> Meta:
    """A session's meta without secrets. The title is rebuilt from the redacted message, because no
    pattern matches a secret that the title cut off."""
    cleaned = Meta.model_validate(Redactor().value(meta.model_dump()))
    first = next(Redacted(source.source, Redactor()).of_type("user_message"), None)
    cleaned.title = (
        title_of(first.event.text) if first and isinstance(first.event, UserMessage) else ""
    )
    return cleaned
