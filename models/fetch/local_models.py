"""Finds model files that other programs fetched: Ollama, LM Studio, llama.cpp, Hugging Face."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from laguna_agent.errors import ModelError
from laguna_agent.models.model_files import first_part

_OLLAMA_MODEL = "application/vnd.ollama.image.model"
_OLLAMA_FOLDERS = (
    "~/.ollama/models",
    "/usr/share/ollama/.ollama/models",  # its own installer
    "/var/lib/ollama/models",  # packages of distributions
    "/var/lib/ollama/.ollama/models",
    "/var/lib/ollama",
    "/var/snap/ollama/common/models",
    "~/snap/ollama/common/models",
    "/opt/homebrew/var/ollama/models",
)
_OLLAMA_UNITS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
_MOST_FILES = 10_000


def find_local(name: str) -> Path | None:
    """The file of a model by the name that another program has for it.

    Raises ModelError if several have it, or if it may not be read.
    """
    found = find_ollama(name) or _find_gguf(name)
    if found is None and not name.endswith(".gguf"):
        for folder in _ollama_folders():
            try:
                os.listdir(folder)
            except PermissionError:
                raise ModelError(
                    f"{name} may be a model of Ollama, whose folder {folder} you may not read",
                    hint="Join its group, then log in again: sudo usermod -aG ollama $USER",
                ) from None
            except OSError:
                continue
    return found


# --- Ollama ---------------------------------------------------------------------------------


def find_ollama(name: str) -> Path | None:
    """The file of an Ollama model: `qwen2.5-coder:1.5b`, `user/model`, `hf.co/u/m:Q4`."""
    match = re.fullmatch(r"(?P<path>[\w.-]+(?:/[\w.-]+){0,3})(?::(?P<tag>[\w.-]+))?", name)
    if match is None:
        return None
    parts = match["path"].split("/")
    if any(part in (".", "..") for part in parts):
        return None
    if len(parts) == 1:
        parts.insert(0, "library")
    if len(parts) == 2:
        parts.insert(0, "registry.ollama.ai")
    for root in _ollama_folders():
        manifest = root.joinpath("manifests", *parts, match["tag"] or "latest")
        try:
            layers = json.loads(manifest.read_bytes())["layers"]
            digests = [one["digest"] for one in layers if one["mediaType"] == _OLLAMA_MODEL]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if not digests or not re.fullmatch(r"sha256:[0-9a-f]{64}", str(digests[0])):
            continue
        for name_of_blob in (str(digests[0]).replace(":", "-"), str(digests[0])):
            blob: Path = root / "blobs" / name_of_blob
            if blob.exists():
                return blob
    return None


def _ollama_folders() -> list[Path]:
    chosen = [os.environ.get("OLLAMA_MODELS"), *_ollama_service()]
    return _folders(chosen, _OLLAMA_FOLDERS)


def _ollama_service() -> list[str]:
    """What the service of Ollama has as OLLAMA_MODELS."""
    found = []
    for folder in map(Path, _OLLAMA_UNITS):
        for unit in (folder / "ollama.service", *folder.glob("ollama.service.d/*.conf")):
            try:
                text = unit.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            found += re.findall(r"""^Environment=.*?OLLAMA_MODELS=([^"'\s]+)""", text, re.MULTILINE)
    return found


# --- GGUF files -----------------------------------------------------------------------------


def _gguf_folders() -> list[Path]:
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    chosen = [os.environ.get("HF_HUB_CACHE"), f"{home}/hub", os.environ.get("LLAMA_CACHE")]
    with contextlib.suppress(OSError, UnicodeError):
        chosen.append(Path("~/.lmstudio-home-pointer").expanduser().read_text().strip() + "/models")
    usual = (
        "~/.lmstudio/models",
        "~/.cache/lm-studio/models",
        "~/.cache/llama.cpp",
        "~/Library/Caches/llama.cpp",
    )
    return _folders(chosen, usual)


def _find_gguf(name: str) -> Path | None:
    """A file by its name, or by that of its repository (`user/model`, `user/model:Q4_K_M`)."""
    base, _, quantization = name.removeprefix("hf.co/").lower().partition(":")
    if not base.strip("./"):
        return None
    found: dict[str, Path] = {}
    for path in _gguf_files():
        file = path.name.lower()
        # llama.cpp names files USER_REPOSITORY_FILE, Hugging Face folders models--USER--REPOSITORY
        folders = str(path.parent).lower().replace("models--", "").replace("--", "/") + "/"
        same_file = base in (file, file.removesuffix(".gguf"))
        same_repository = "/" in base and (
            f"/{base}/" in folders or file.startswith(base.replace("/", "_") + "_")
        )
        first = first_part(path.name) == path.name and "mmproj" not in file
        if (same_file or (same_repository and first)) and quantization in file:
            found.setdefault(file, path)
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found.values())[:8])
        raise ModelError(f"{name} has several files: {names}", hint="Give the name of one of them.")
    return next(iter(found.values()), None)


def _gguf_files() -> Iterable[Path]:
    left = _MOST_FILES
    for root in _gguf_folders():
        for folder, _, names in os.walk(root):
            for name in names:
                left -= 1
                if name.lower().endswith(".gguf") and left > 0:
                    yield Path(folder, name)


def _folders(chosen: Iterable[str | None], usual: Iterable[str]) -> list[Path]:
    places = [*(place.strip().strip("\"'") for place in chosen if place), *usual]
    found = [Path(place).expanduser() for place in dict.fromkeys(places) if place]
    return [place for place in found if place.is_absolute()]
