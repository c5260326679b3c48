"""Writes docs/configuration.md from the models of `laguna_agent/config.py`.

`make configuration` runs this; a test checks that the document is current.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from laguna_agent import config
from laguna_agent.config import ENVIRONMENT, PROJECT_FORBIDDEN, Config

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
_HEAD = """\
# Configuration

Your configuration is `config.toml` in laguna's configuration directory (`~/.config/laguna/` on
Linux; `laguna config path` prints it). `laguna config edit` opens it and checks it, `laguna config
show` prints each value and where it comes from: flags win over variables ({variables}), then comes
`.laguna/config.toml` of a repository that you trust, then your own file, then the default. A
mistake is reported with its line; one in a repository's file leaves that file out where a person is
there, and ends a `--task`.

A repository may not set {forbidden}; of rules, it may add those that ask or deny.

```toml
model = "laguna-xs-2.1"

[sampling]
temperature = 0.2

[providers.box]                 # a server with the OpenAI API, as --model box/NAME
url = "http://192.168.1.20:8080/v1"
key_env = "BOX_KEY"

[[policy.rules]]
verdict = "allow"
command = "pytest *"
```

This page is made from the code by `make configuration`. What rules mean is in
[safety.md](safety.md), what hooks read and print in [prompt-packs.md](prompt-packs.md).
"""


def document() -> str:
    """The text of the document."""
    variables = ", ".join(f"`{name}`" for name in [*ENVIRONMENT, "LAGUNA_OFFLINE"])
    forbidden = ", ".join(f"`{'.'.join(keys)}`" for keys in PROJECT_FORBIDDEN)
    head = _HEAD.format(variables=variables, forbidden=forbidden)
    return "\n".join([head, *_section("", Config)]).rstrip() + "\n"


def _section(name: str, model: type[BaseModel]) -> list[str]:
    docs, below, rows = _docs(model), [], []
    for key, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None:
            below += _section(_inner_name(name, key, field.annotation), inner)
        else:
            assert key in docs, f"`{key}` of {model.__name__} needs a text below it"
            rows.append(
                f"| `{field.alias or key}` | {_values(field)} | {_default(field)} | {docs[key]} |"
            )
    about = inspect.getdoc(model) or ""
    title = f"\n## `{name}`" if name else "\n## At the top"
    head = [title, "", " ".join(about.split()) if name else "Above all sections.", ""]
    table = ["| key | value | default | meaning |", "|---|---|---|---|", *rows]
    return [*head, *(table if rows else []), *below]


def _inner_name(above: str, key: str, annotation: Any) -> str:
    path = ".".join(part for part in (above.strip("[]"), key) if part)
    if get_origin(annotation) is list:
        return f"[[{path}]]"
    return f"[{path}.NAME]" if get_origin(annotation) is dict else f"[{path}]"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _docs(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field in the source."""
    tree = ast.parse(Path(config.__file__).read_text(encoding="utf-8"))
    (found,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == model.__name__)
    docs: dict[str, str] = {}
    for field, text in zip(found.body, found.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            docs[field.target.id] = re.sub(r"; see `_\w+`", "", " ".join(text.value.value.split()))
    return docs


def _values(field: FieldInfo) -> str:
    limits = []
    for one in field.metadata:
        for name, sign in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below")):
            if name in type(one).__name__.lower():
                limits.append(f"{sign} {getattr(one, name):g}")
    return " ".join([_kind(field.annotation), *limits])


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(one) for one in arguments if one is not type(None))
    if origin is list:
        return f"list of {_kind(arguments[0])}s"
    if origin is dict:
        return f"table of {_kind(arguments[1])}s"
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "value"}
    return names.get(annotation, str(annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "" if value is None else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
