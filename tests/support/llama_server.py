"""A real llama-server, built once from the llama.cpp that the installed llama-cpp-python vendors.

`make llama-server` builds it before the tests run, whose time is limited. The sources come from the
package's source archive and the libraries from its installation, so that only the server itself is
compiled. It lies with the test models, under the version.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from support.synthetic import cache_dir

_PACKAGE = "llama-cpp-python"
_START_S = 180.0


def build_llama_server() -> Path:
    """The program, built if it is not there yet; takes some minutes then. Needs cmake, a C++
    compiler and the package index."""
    folder = cache_dir() / f"llama-server-{version(_PACKAGE)}"
    program = folder / "llama-server"
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / "llama-server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            with tempfile.TemporaryDirectory(dir=cache_dir()) as made:
                _build(Path(made), folder)
    return program


def _build(made: Path, folder: Path) -> None:
    libraries = _libraries()
    source = _source(made)
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_FLAGS_RELEASE": "-O0 -DNDEBUG",  # the work is done in the libraries
        "CMAKE_PROJECT_llama.cpp_INCLUDE": Path(__file__).with_suffix(".cmake"),
        "BUILT_LIBRARIES": libraries,
        "BUILD_SHARED_LIBS": "OFF",
        "CMAKE_BUILD_RPATH": "$ORIGIN",
        "LLAMA_OPENSSL": "OFF",
        "LLAMA_USE_PREBUILT_UI": "OFF",
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_BUILD_EXAMPLES": "OFF",
        "LLAMA_BUILD_APP": "OFF",
    }
    flags = [f"-D{name}={value}" for name, value in options.items()]
    _run("cmake", "-S", str(source), "-B", str(made / "build"), *flags)
    _run("cmake", "--build", str(made / "build"), "--target", "llama-server", "-j", "2")
    ready = made / "ready"
    ready.mkdir()
    shutil.copy2(made / "build" / "bin" / "llama-server", ready)
    for library in libraries.glob("lib*.so*"):
        shutil.copy2(library, ready)
    shutil.rmtree(folder, ignore_errors=True)
    ready.rename(folder)


def _libraries() -> Path:
    import llama_cpp

    return Path(llama_cpp.__file__).parent / "lib"


def _source(made: Path) -> Path:
    """The source of llama.cpp, from the package's source archive."""
    name = f"{_PACKAGE}=={version(_PACKAGE)}"
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", _PACKAGE]
    _run(*pip, "--dest", str(made), name)
    [archive] = made.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(made, filter="data")
    [source] = made.glob("*/vendor/llama.cpp")
    return source


def _run(*command: str) -> None:
    # cmake is one of the development tools, beside this Python.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{(done.stdout + done.stderr)[-3000:]}"


@contextlib.contextmanager
def llama_server(model: Path, log: Path, *flags: str, port: int) -> Iterator[str]:
    """A llama-server that has loaded a model; its address, which ends with /v1."""
    program = build_llama_server()
    command = [str(program), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), *flags]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(program.parent)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        assert process.poll() is None, f"llama-server ended:\n{log.read_text()[-3000:]}"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"llama-server did not load its model:\n{log.read_text()[-3000:]}")


if __name__ == "__main__":
    print(build_llama_server())
