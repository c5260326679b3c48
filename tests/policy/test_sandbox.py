"""What a child cannot do in the sandbox, and what a developer still can."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from laguna_agent import paths
from laguna_agent.policy import sandbox_obstacles
from laguna_agent.policy.sandbox import NoSandbox, SandboxChoice, make_sandbox
from laguna_agent.policy.sandbox_limits import limit_reached
from laguna_agent.tools.tool import ToolContext
from support.shells import Shell

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def boxed(workspace: Path, tmp_path: Path) -> Callable[..., SandboxChoice]:
    def make(**options: object) -> SandboxChoice:
        choice = make_sandbox(
            **{
                "workspace": workspace,
                "enabled": True,
                "network": False,
                "writable": [],
                "state_dir": paths.state_dir() / "repo",
                **options,
            }  # type: ignore[arg-type]  # a test's own options
        )
        assert choice.confined, choice.reason
        return choice

    return make


@pytest.fixture
def inside(boxed: Callable[..., SandboxChoice], workspace: Path) -> Run:
    def run(
        script: str, cwd: Path = workspace, **options: object
    ) -> subprocess.CompletedProcess[str]:
        confined = boxed(**options).sandbox
        return subprocess.run(
            confined.wrap(["bash", "--norc", "--noprofile", "-c", script], cwd=cwd),
            env=confined.environment(),
            cwd=workspace,
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    return run


def tree(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if "objects" not in path.parts
    }


# --- what a child cannot change -----------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "touch {home}/C",
        "echo x >> {home}/.bashrc",
        "touch {outside}/C",
        "cd / && touch C tmp2 && touch {outside}/C",
        "ln -s {outside} d && touch d/C",
        "ln {outside}/f hard && echo x > hard",
        "mount -o remount,rw / ; touch {outside}/C",
        "unshare -Ur sh -c 'mount -o remount,rw,bind / /; touch {outside}/C'",
        "unshare -Urm sh -c 'umount -l {outside}; touch {outside}/C'",
        "rm -rf {outside}",
        "mv {outside} {outside}2",
        "echo x > /proc/1/root{outside}/C",
        "touch /proc/1/cwd/../repo-evil/C",
        "setsid touch {outside}/C",
        "sudo -n touch {outside}/C",
    ],
)
def test_nothing_outside_the_workspace_changes(
    script: str, inside: Run, workspace: Path, home: Path
) -> None:
    outside = workspace.parent / "repo-evil"
    before = tree(home), tree(outside)
    inside(script.format(home=home, outside=outside) + f"; touch {workspace}/ran")
    assert (workspace / "ran").exists()
    assert (tree(home), tree(outside)) == before


@pytest.mark.parametrize(
    "script",
    [
        "echo x > .git/hooks/pre-commit",
        "mkdir -p .git/hooks; touch .git/hooks/C",
        "rm -rf .git/hooks; mkdir .git/hooks; touch .git/hooks/C",
        "mv .git/hooks .git/old; mkdir .git/hooks; touch .git/hooks/C",
        "git config core.fsmonitor ./x.sh",
        "git config --local core.hooksPath .",
        "echo '[core] fsmonitor = ./x.sh' >> .git/config",
        "mv .git/config .git/c; echo '[core] fsmonitor = ./x.sh' > .git/config",
        "cp .git/config c; echo '[core] fsmonitor = ./x.sh' >> c; mv -f c .git/config",
        "ln -sf ../x.sh .git/config",
        "mv .git old; git init -q; git config core.fsmonitor ./x.sh",
        "cp -r .git new; rm -rf .git; mv new .git; git config core.fsmonitor ./x.sh",
        "chmod 777 .git/config; echo x >> .git/config",
        "mkdir -p .laguna; echo '[policy]' > .laguna/config.toml",
        "mv .laguna old; mkdir .laguna; touch .laguna/C",
        "rm -rf .laguna; mkdir .laguna; touch .laguna/C",
        "umount .git/config; echo x >> .git/config",
    ],
)
def test_files_that_decide_what_runs_cannot_be_changed(
    script: str, inside: Run, workspace: Path
) -> None:
    (workspace / ".laguna").mkdir()
    (workspace / ".laguna" / "config.toml").write_text("# mine\n")
    guarded = [workspace / ".git" / "hooks", workspace / ".laguna"]
    config = workspace / ".git" / "config"
    before = [tree(path) for path in guarded], config.read_bytes()
    inside(script + "; touch ran")
    assert (workspace / "ran").exists()
    assert ([tree(path) for path in guarded], config.read_bytes()) == before


def test_configured_hooks_and_includes_are_protected(inside: Run, workspace: Path) -> None:
    (workspace / ".husky").mkdir()
    (workspace / ".husky" / "pre-commit").write_text("#!/bin/sh\n")
    (workspace / ".gitconfig").write_text("[alias]\n\tx = status\n")
    with (workspace / ".git" / "config").open("a") as config:
        config.write("[include]\n\tpath = ../.gitconfig\n[core]\n\thooksPath = .husky\n")
    inside("echo touch C >> .husky/pre-commit; echo '[core] fsmonitor=x' >> .gitconfig")
    assert (workspace / ".husky" / "pre-commit").read_text() == "#!/bin/sh\n"
    assert (workspace / ".gitconfig").read_text() == "[alias]\n\tx = status\n"


def test_the_sandbox_leaves_nothing_in_a_repository(inside: Run, workspace: Path) -> None:
    shutil.rmtree(workspace / ".git" / "hooks")
    before = tree(workspace)
    assert inside("true").returncode == 0
    assert tree(workspace) == before


@pytest.mark.parametrize("network", [False, True])
def test_the_kernel_s_settings_cannot_be_written(network: bool, inside: Run) -> None:
    places = "/proc/sys /proc/irq /proc/fs /proc/bus /proc/mtrr /sys"
    find = f"find {places} -xdev ! -type l -writable -print -quit"
    done = inside(f"{find}; echo searched", network=network)
    assert done.stdout == "searched\n"


def test_a_kernel_setting_is_not_even_written_back(inside: Run) -> None:
    setting = Path("/proc/sys/kernel/core_pattern")
    script = f'v=$(cat {setting}); echo "$v" > {setting} && echo written'
    for wrapped in (script, f"unshare -Ur sh -c '{script}'", f"cd /proc/1/root; {script}"):
        assert "written" not in inside(wrapped).stdout


def test_denied_paths_are_hidden_or_read_only(inside: Run, workspace: Path) -> None:
    (workspace / "private").mkdir()
    (workspace / "private" / "f").write_text("hunter2\n")
    done = inside(
        "cat private/f; ls private; echo x > README.md; cat README.md",
        hidden=[workspace / "private"],
        read_only=[workspace / "README.md"],
    )
    assert "hunter2" not in done.stdout
    assert (workspace / "README.md").read_text() == "foo\nbar\n"


@pytest.mark.parametrize(
    "place",
    [
        ".venv/lib/python3.11/site-packages/six-1.dist-info/METADATA",
        "venv/lib/python3.12/site-packages/numpy/core/a.py",
        "node_modules/.pnpm/left-pad@1.0.0/node_modules/left-pad/index.js",
        "node_modules/left-pad/index.js",
    ],
)
def test_a_store_that_packages_are_linked_from_is_not_changed(
    place: str, inside: Run, workspace: Path, home: Path
) -> None:
    store, package = home / "store", workspace / place
    store.write_text("clean\n")
    package.parent.mkdir(parents=True)
    os.link(store, package)
    top, _, rest = place.partition("/")
    done = inside(
        f'echo evil >> {place}; truncate -s0 {place}; python3 -c \'open("{place}", "w")\'; '
        f"mv {top} moved; echo evil >> moved/{rest}; cat {place} moved/{rest}"
    )
    assert done.stdout == "clean\n"
    assert store.read_text() == "clean\n"
    if (workspace / "moved").exists():
        (workspace / "moved").rename(workspace / top)
    inside(f"echo mine >> {place}", writable=[workspace / top])
    assert "mine" in store.read_text()


def test_packages_that_are_no_links_can_be_changed(inside: Run, workspace: Path) -> None:
    place = workspace / "node_modules" / "x"
    place.mkdir(parents=True)
    (place / "index.js").write_text("one\n")
    assert inside("echo two >> node_modules/x/index.js && rm -rf node_modules").returncode == 0


def test_extra_paths_can_be_writable(inside: Run, workspace: Path) -> None:
    extra = workspace.parent / "extra"
    extra.mkdir()
    assert inside(f"touch {extra}/f", writable=[extra]).returncode == 0
    assert (extra / "f").exists()


# --- what a child cannot see or reach -----------------------------------------------------------


def test_secrets_of_the_home_are_invisible(inside: Run, home: Path, workspace: Path) -> None:
    done = inside(
        f"cat {home}/.ssh/* {home}/.aws/* {home}/.gnupg/* {home}/.config/gh/*; "
        f"grep -r hunter2 {home}"
    )
    assert "hunter2" not in done.stdout
    assert "hunter2" in (workspace / ".env").read_text(), "the canary of this test"


def test_a_secret_behind_a_link_is_invisible(inside: Run, home: Path, tmp_path: Path) -> None:
    real = tmp_path / "vault"
    real.mkdir()
    (real / "key").write_text("hunter2\n")
    (home / ".kube").symlink_to(real)
    assert "hunter2" not in inside(f"cat {home}/.kube/key {real}/key").stdout


def test_laguna_s_directories_are_invisible(inside: Run, workspace: Path) -> None:
    for place in (paths.config_dir(), paths.state_dir(), paths.data_dir()):
        place.mkdir(parents=True, exist_ok=True)
        (place / "f").write_text("hunter2\n")
    script = "; ".join(
        f"cat {p}/f; touch {p}/C" for p in (paths.config_dir(), paths.state_dir(), paths.data_dir())
    )
    assert "hunter2" not in inside(script).stdout
    assert not (paths.config_dir() / "C").exists()


def test_laguna_s_directories_in_a_workspace_are_invisible(
    inside: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAGUNA_HOME", str(workspace / ".l"))
    inside("mkdir -p .l/config; echo '[policy]' > .l/config/config.toml", state_dir=workspace / "s")
    assert not (workspace / ".l" / "config" / "config.toml").exists()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_laguna_s_directories_cannot_be_made_writable(inside: Run, depth: int) -> None:
    own = paths.state_dir() / "repo"
    own.mkdir(parents=True)
    writable = [own, *own.parents][depth]
    inside(f"mkdir -p {own}; touch {own}/C", writable=[writable])
    assert not (own / "C").exists()


def test_the_environment_has_no_secrets(inside: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MY_API_KEY", "GITHUB_TOKEN", "DB_PASSWORD", "CLIENT_SECRET", "aws_secret_x"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("DATABASE_URL", "postgres://u:hunter2@h/d")
    monkeypatch.setenv("INDEX", "https://u:hunter2@h/simple")
    monkeypatch.setenv("BASH_ENV", "/hunter2")
    done = inside("env; cat /proc/*/environ | tr '\\0' '\\n'; ps auxeww")
    assert "hunter2" not in done.stdout
    assert "PATH=" in done.stdout


def test_a_caller_with_its_own_environment_leaks_nothing(
    boxed: Callable[..., SandboxChoice], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "hunter2")
    argv = boxed().sandbox.wrap(["sh", "-c", "env; cat /proc/*/environ"], cwd=workspace)
    done = subprocess.run(argv, capture_output=True, check=True)
    assert b"hunter2" not in done.stdout


def test_tmp_is_its_own(inside: Run) -> None:
    canary = Path("/tmp") / f"laguna-canary-{os.getpid()}"
    mine = Path("/tmp") / f"laguna-mine-{os.getpid()}"
    canary.write_text("hunter2")
    try:
        done = inside(f"cat {canary}; echo mine > {mine} && cat {mine}; rm -f {canary}")
    finally:
        assert canary.exists()
        canary.unlink()
    assert done.stdout == "mine\n"
    assert not mine.exists()


def test_a_virtual_environment_under_tmp_stays_visible(
    inside: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bins = tmp_path / "venv" / "bin"
    bins.mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    (bins / "tool").write_text("#!/bin/sh\necho works\n")
    (bins / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bins}:{os.environ['PATH']}")
    assert inside("tool").stdout == "works\n"


def test_other_processes_are_invisible_and_unreachable(inside: Run) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        done = inside(f"kill -9 {other.pid}; ls /proc | grep -c '^[0-9]'; kill -9 -1")
        assert other.poll() is None
        other.kill()
    assert int(done.stdout.split()[0]) < 10


@pytest.fixture
def tcp_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    "script",
    [
        "exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached",
        "exec 3<>/dev/udp/127.0.0.1/53 && echo x >&3 && read -t 1 <&3 && echo reached",
        "getent hosts example.org && echo reached",
        "ping -c1 -W1 1.1.1.1 && echo reached",
        "timeout 2 bash -c 'exec 3<>/dev/tcp/1.1.1.1/443' && echo reached",
    ],
)
def test_the_network_is_unreachable(script: str, inside: Run, tcp_port: int) -> None:
    assert "reached" not in inside(script.format(port=tcp_port)).stdout


def test_the_network_is_reached_when_it_is_allowed(inside: Run, tcp_port: int) -> None:
    script = f"exec 3<>/dev/tcp/127.0.0.1/{tcp_port} && echo reached"
    assert "reached" in inside(script, network=True).stdout


SYSTEM_CALL = """
import ctypes, mmap, os, platform, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
for name in sys.argv[1:]:
    if name == "32bit":  # keyctl as a program of 32 bits calls it: mov eax, 288; int 0x80; ret
        code = mmap.mmap(-1, 4096, prot=7)
        code.write(bytes.fromhex("31db31c931d2b820010000cd80c3") if x86 else b"")
        call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
        result = call() if x86 else -38
    elif name in ("vsock", "alg", "bluetooth"):
        family = {"vsock": 40, "alg": 38, "bluetooth": 31}[name]
        result = libc.socket(family, socket.SOCK_SEQPACKET, 0)
        result = -ctypes.get_errno() if result < 0 else result
    else:
        number = {
            "add_key": 248 if x86 else 217,
            "keyctl": 250 if x86 else 219,
            "request_key": 249 if x86 else 218,
            "io_uring": 425,
            "unshare": 272 if x86 else 97,
            "clone": 56 if x86 else 220,
            "clone3": 435,
            "x32": 0x40000000 + 250,
        }[name]
        first = 0x10000000 + (17 if name == "clone" else 0) if name in ("unshare", "clone") else 0
        result = libc.syscall(number, first, 0, 0, 0, 0)
        result = -ctypes.get_errno() if result < 0 else result
        if name == "clone" and result == 0:
            os._exit(0)
    print(name, -result)
"""


REFUSED = {
    **dict.fromkeys(("add_key", "keyctl", "request_key", "io_uring"), errno.ENOSYS),
    **dict.fromkeys(("clone3", "32bit", "x32"), errno.ENOSYS),
    **dict.fromkeys(("unshare", "clone"), errno.EPERM),
    **dict.fromkeys(("vsock", "alg", "bluetooth"), errno.EAFNOSUPPORT),
}


def test_system_calls_that_reach_past_namespaces_are_refused(inside: Run, workspace: Path) -> None:
    (workspace / "call.py").write_text(SYSTEM_CALL)
    done = inside(f"{sys.executable} call.py {' '.join(REFUSED)}")
    answers = dict(line.split() for line in done.stdout.splitlines())
    assert answers == {name: str(answer) for name, answer in REFUSED.items()}, done.stderr


def test_a_debugger_and_threads_work(inside: Run) -> None:
    script = (
        "import ctypes, os, signal, threading; t = threading.Thread(target=print, args=('ran',)); "
        "t.start(); t.join(); child = os.fork(); libc = ctypes.CDLL(None); "
        "child or (libc.ptrace(0, 0, 0, 0), os.kill(os.getpid(), signal.SIGSTOP), os._exit(0)); "
        "print(os.WIFSTOPPED(os.waitpid(child, 0)[1]), libc.ptrace(8, child, 0, 0))"
    )
    assert inside(f'{sys.executable} -c "{script}"').stdout == "ran\nTrue 0\n"


CONNECT = """
import socket, sys
s = socket.socket(socket.AF_UNIX, int(sys.argv[2]) if sys.argv[2:] else socket.SOCK_STREAM)
address = sys.argv[1]
s.connect(chr(0) + address[1:] if address[0] == '@' else address)
print('reached')
"""


@pytest.mark.parametrize(
    "place", ["@laguna-test-{pid}", "{home}/agent.sock", "{home}/.docker.sock", "/tmp/l-{pid}.sock"]
)
def test_unix_sockets_of_other_programs_are_unreachable(
    place: str, inside: Run, workspace: Path, home: Path
) -> None:
    address = place.format(pid=os.getpid(), home=home)
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind("\0" + address[1:] if address.startswith("@") else address)
            server.listen()
            client = workspace / "connect.py"
            client.write_text(CONNECT)
            outside = subprocess.run(
                [sys.executable, client, address], capture_output=True, check=True
            )
            assert outside.stdout == b"reached\n"
            done = inside(f"{sys.executable} connect.py '{address}'")
        finally:
            if not address.startswith("@"):
                os.unlink(address)
    assert "reached" not in done.stdout


@pytest.fixture
def socket_at(home: Path, workspace: Path) -> Iterator[Callable[..., str]]:
    """Makes sockets of another program; returns the command that connects to one."""
    made = []
    (workspace / "connect.py").write_text(CONNECT)

    def make(path: str | Path, kind: int = socket.SOCK_STREAM) -> str:
        server = socket.socket(socket.AF_UNIX, kind)
        made.append(server)
        server.bind(os.fspath(path))
        if kind != socket.SOCK_DGRAM:
            server.listen()
        return f"{sys.executable} connect.py {home / path} {int(kind)}"

    yield make
    for server in made:
        server.close()


@pytest.mark.parametrize(
    ("name", "kind", "others"),
    [
        ("x.sock", socket.SOCK_DGRAM, 0),
        ("x.sock", socket.SOCK_SEQPACKET, 0),
        ("with spaces and ünicode", socket.SOCK_STREAM, 0),
        ("among-others", socket.SOCK_STREAM, 80),
        ("only/sockets/x", socket.SOCK_STREAM, 3),
    ],
)
@pytest.mark.parametrize("relative", [False, True])
def test_sockets_of_any_kind_and_name_are_unreachable(
    name: str,
    kind: int,
    others: int,
    relative: bool,
    inside: Run,
    socket_at: Callable[..., str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(home)
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    for number in range(others):
        socket_at((home / name).parent / f"s{number}")
    connect = socket_at(name if relative else home / name, kind).replace(str(home), "$HOME")
    connect = connect.replace(f"$HOME/{name}", f'"$HOME/{name}"')
    reached = subprocess.run(["sh", "-c", connect], cwd=home.parent / "t" / "repo", check=False)
    assert reached.returncode == 0, "the socket does not work"
    assert inside(connect).returncode == 1


@pytest.mark.parametrize("place", ["private", "f.txt", "~/.netrc", "~/.ssh"])
async def test_what_somebody_outside_replaces_stays_hidden_or_read_only(
    place: str,
    boxed: Callable[..., SandboxChoice],
    workspace: Path,
    home: Path,
    tmp_path: Path,
) -> None:
    path = home / place[2:] if place.startswith("~") else workspace / place
    if place != "~/.ssh":
        path.write_text("old\n")
    fixed = workspace / "f.txt"
    confined = boxed(hidden=[workspace / "private"], read_only=[fixed]).sandbox
    shell = Shell(ToolContext(workspace, tmp_path, confined, protected=confined.protected))
    await shell("true")
    if place == "~/.ssh":
        path.rename(home / ".ssh.old")
        path.mkdir()
        (path / "id").write_text("hunter2\n")
    else:  # as editors save
        (path.parent / "new").write_text("hunter2\n")
        (path.parent / "new").rename(path)
    result = await shell(f"cat private ~/.netrc ~/.ssh/*; echo more >> f.txt; cat {place}")
    assert ("hunter2" in result.content) == (place == "f.txt")
    assert not fixed.exists() or "more" not in fixed.read_text() or place != "f.txt"
    await shell.close()


async def test_a_history_that_grows_renews_no_shell(
    boxed: Callable[..., SandboxChoice], workspace: Path, home: Path, tmp_path: Path
) -> None:
    (home / ".bash_history").write_text("one\n")
    (home / ".netrc").write_text("one\n")
    confined = boxed().sandbox
    before = confined.protected()
    (home / ".bash_history.new").write_text("one\ntwo\n")
    (home / ".bash_history.new").rename(home / ".bash_history")
    with (home / ".netrc").open("a") as stream:
        stream.write("two\n")
    (workspace / "new").write_text("x")
    assert confined.protected() <= before


async def test_a_socket_made_after_the_shell_began_is_unreachable(
    boxed: Callable[..., SandboxChoice],
    workspace: Path,
    home: Path,
    tmp_path: Path,
    socket_at: Callable[..., str],
) -> None:
    confined = boxed().sandbox
    shell = Shell(ToolContext(workspace, tmp_path, confined, protected=confined.protected))
    assert (await shell("export KEPT=kept")).ok
    connect = socket_at(home / "later.sock")
    result = await shell(f"echo $KEPT; {connect}")
    assert "kept" in result.content
    assert "Error" in result.content
    (home / "later.sock").unlink()
    result = await shell("true; " + socket_at(home / "later.sock"))
    assert "Error" in result.content
    assert "new shell" not in (await shell("true")).content
    await shell.close()


def test_the_runtime_directory_with_laguna_s_socket_is_hidden(inside: Run) -> None:
    runtime = paths.runtime_dir()
    (runtime / "engine.sock").touch()
    done = inside(f"ls {runtime}; echo ${{XDG_RUNTIME_DIR-unset}} ${{SSH_AUTH_SOCK-unset}}")
    assert done.stdout == "unset unset\n"


def test_nothing_survives_its_parent(boxed: Callable[..., SandboxChoice], workspace: Path) -> None:
    beat = workspace / "beat"
    script = f"trap '' TERM HUP; (setsid sh -c 'while :; do date +%N > {beat}; done') & wait"
    argv = boxed().sandbox.wrap(["bash", "-c", script], cwd=workspace)
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *argv]
    )
    deadline = time.monotonic() + 20
    while not beat.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert beat.exists()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    last = -1
    while time.monotonic() < deadline:
        beat.write_text("mine")
        time.sleep(0.1)
        last = beat.read_text() == "mine"
        if last:
            break
    assert last


# --- what still works ---------------------------------------------------------------------------


def test_inherited_descriptors_pass_through(
    boxed: Callable[..., SandboxChoice], workspace: Path
) -> None:
    read, write = os.pipe()
    argv = boxed().sandbox.wrap(["sh", "-c", f"echo done > /proc/self/fd/{write}"], cwd=workspace)
    subprocess.run(argv, pass_fds=[write], check=True)
    os.close(write)
    with os.fdopen(read) as report:
        assert report.read() == "done\n"


def test_a_cwd_outside_widens_nothing(boxed: Callable[..., SandboxChoice], workspace: Path) -> None:
    outside = workspace.parent / "repo-evil"
    for cwd in (Path("/"), outside):
        argv = boxed().sandbox.wrap(["touch", str(outside / "C"), "C"], cwd=cwd)
        subprocess.run(argv, check=False, capture_output=True)
    assert not (outside / "C").exists()
    assert not Path("/C").exists()


LOOPBACK = """python3 - <<'E'
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()
E"""


@pytest.mark.parametrize(
    "script",
    [
        "git status --short",
        "echo more >> README.md && git commit -qam more && git log --oneline",
        "git checkout -q -b topic && git stash list",
        "python3 -m compileall -q src",
        "python3 -m venv --without-pip v && v/bin/python -c 'print(1)'",
        "python3 -m pip list",
        "printf 'all:\\n\\techo made\\n' > Makefile && make",
        "echo 'int main(void){return 0;}' > m.c && gcc m.c -o m && ./m",
        'node -e \'require("fs").writeFileSync("n", "1")\'',
        'echo \'{"scripts":{"test":"echo ok"}}\' > package.json && npm test && npm ls',
        "mkdir -p ~/.cache/tool && touch ~/.cache/tool/x",
        "f=$(mktemp) && test -f $f",
        "python3 -c 'import multiprocessing as m; m.Manager()'",
        "python3 -c 'import pty; pty.openpty()'",
        LOOPBACK,
    ],
)
def test_development_tools_work(script: str, inside: Run) -> None:
    done = inside(script)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("git config user.email x@y", "git -c"),
        ("git remote add up ../o.git", "git -c"),
        ("git branch t; git branch -u main t", "git -c"),
        ("echo x > .git/hooks/pre-commit", "git -c"),
        ("git worktree add ~/elsewhere", "policy.writable"),
        ("git config --global user.name x", "policy.writable"),
        ("touch ~/.bashrc", "policy.writable"),
        ('python3 -c \'open("/etc/x", "w")\'', "policy.writable"),
        ("git clone https://example.org/a/b", "policy.network"),
        ("python3 -c 'import urllib.request as u; u.urlopen(\"http://x.org\")'", "policy.network"),
        ("curl -sS https://example.org", "policy.network"),
        ("curl -sS http://localhost:8000", "the sandbox's own"),
        (
            'node -e \'require("net").connect(8000, "127.0.0.1")\'',
            "the sandbox's own",
        ),
        ("unshare -r id", "--no-sandbox"),
        (f"{sys.executable} -m pip install -e .", "--no-build-isolation"),
        ("ls nothing", ""),
        ("git log nothing", ""),
        ("git checkout -qb t; git commit -q --allow-empty -m x; git worktree add w", ""),
    ],
)
def test_a_limit_of_the_sandbox_is_said_in_one_line(
    script: str, word: str, inside: Run, workspace: Path
) -> None:
    (workspace / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    done = inside(script)
    line = limit_reached(done.stdout + done.stderr, ok=not done.returncode, network=False)
    assert word in line, done.stdout + done.stderr
    assert bool(line) == bool(word), done.stdout + done.stderr
    assert "\n" not in line


def test_pytest_runs_in_it(inside: Run, workspace: Path) -> None:
    (workspace / "test_a.py").write_text("def test_a(tmp_path):\n    (tmp_path / 'x').touch()\n")
    done = inside(f"{sys.executable} -m pytest -q test_a.py -p no:cacheprovider")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("swapped", ["before", "while"])
@pytest.mark.parametrize("kind", ["repository", "read-only", "hidden", "writable"])
def test_a_link_in_the_place_of_a_folder_leads_no_mount_elsewhere(
    swapped: str,
    kind: str,
    boxed: Callable[..., SandboxChoice],
    workspace: Path,
    home: Path,
) -> None:
    victim = home / ".ssh"
    place = workspace / "lib" / ".ssh"
    subprocess.run(["git", "init", "-q", "--bare", str(place)], check=True)
    options: dict[str, object] = {
        "repository": {},
        "read-only": {"read_only": [place]},
        "hidden": {"secrets": lambda: [place / "HEAD"]},
        "writable": {"writable": [place]},
    }[kind]
    confined = boxed(**options).sandbox
    script = f"cat {victim}/* lib/.ssh/id*; touch {victim}/C lib/.ssh/C; echo end"
    argv = confined.wrap(["bash", "-c", script], cwd=workspace)
    (workspace / "lib").rename(workspace / "old")
    (workspace / "lib").symlink_to(os.path.relpath(home, workspace))
    if swapped == "before":
        argv = confined.wrap(["bash", "-c", script], cwd=workspace)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert "hunter2" not in done.stdout
    assert not (victim / "C").exists()
    assert ("end" in done.stdout) == (swapped == "before"), done.stderr


def test_what_a_mount_shows_is_what_it_was_planned_for(
    boxed: Callable[..., SandboxChoice], workspace: Path
) -> None:
    """As if a link had been there only while the source of a mount was looked up."""
    subprocess.run(["git", "init", "-q", "lib (a] \\ b"], cwd=workspace, check=True)
    confined = boxed().sandbox
    argv = confined.wrap(["echo", "end"], cwd=workspace)
    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"end\n"
    (workspace / "other").mkdir()
    index = argv.index("--bind", argv.index(str(workspace)) + 2)
    argv[index + 1] = str(workspace / "other")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode != 0


def test_a_linked_worktree_names_no_other_repository(
    inside: Run, workspace: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / ".git").write_text("gitdir: admin\n")
    (bare / "admin").mkdir()
    (bare / "admin" / "gitdir").write_text("../.git\n")
    (bare / "admin" / "commondir").write_text(f"{workspace}/.git\n")
    inside(f"touch {workspace}/.git/refs/C", workspace=bare, cwd=bare)
    assert not (workspace / ".git" / "refs" / "C").exists()


def test_a_linked_worktree_can_commit(inside: Run, workspace: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    subprocess.run(
        ["git", "worktree", "add", "-q", str(linked)],
        cwd=workspace,
        check=True,
        capture_output=True,
    )
    script = f"cd {linked} && echo x > new && git add new && git commit -qm new && git status"
    done = inside(script, workspace=linked)
    assert done.returncode == 0, done.stderr
    config = (workspace / ".git" / "config").read_bytes()
    inside("git config core.fsmonitor x; touch C", workspace=linked)
    assert (workspace / ".git" / "config").read_bytes() == config


def test_a_submodule_can_commit(inside: Run, workspace: Path, tmp_path: Path) -> None:
    above = tmp_path / "above"
    git = ["git", "-c", "protocol.file.allow=always"]
    subprocess.run([*git, "init", "-q", str(above)], check=True)
    subprocess.run(
        [*git, "submodule", "--quiet", "add", str(workspace), "lib"], cwd=above, check=True
    )
    script = "echo x > new && git add new && git commit -qm new && git checkout -qb topic"
    options = {"workspace": above / "lib", "cwd": above / "lib"}
    done = inside(script, **options)
    assert done.returncode == 0, done.stderr
    directory = above / ".git" / "modules" / "lib"
    before = tree(directory / "hooks"), (directory / "config").read_bytes()
    inside(
        f"git config core.fsmonitor x; echo x > {directory}/hooks/pre-commit; "
        f"mv {directory} {directory}2; touch {above}/C {above}/.git/C",
        **options,
    )
    assert (tree(directory / "hooks"), (directory / "config").read_bytes()) == before
    assert not (above / "C").exists()
    assert not (above / ".git" / "C").exists()


def test_a_git_file_cannot_name_a_directory_that_does_not_point_back(
    inside: Run, workspace: Path, home: Path
) -> None:
    shutil.rmtree(workspace / ".git")
    victim = home / "victim"
    subprocess.run(["git", "init", "-q", str(victim)], check=True)
    (workspace / ".git").write_text(f"gitdir: {victim}/.git\n")
    inside(f"touch {victim}/.git/C")
    assert not (victim / ".git" / "C").exists()


# --- no sandbox ---------------------------------------------------------------------------------


def test_a_disabled_sandbox_is_reported(workspace: Path, tmp_path: Path) -> None:
    choice = make_sandbox(
        workspace=workspace, enabled=False, network=False, writable=[], state_dir=tmp_path
    )
    assert isinstance(choice.sandbox, NoSandbox)
    assert "disabled" in choice.reason
    assert choice.sandbox.wrap(["ls"], cwd=workspace) == ["ls"]


def test_a_missing_bubblewrap_says_how_to_get_it(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    choice = make_sandbox(
        workspace=workspace, enabled=True, network=False, writable=[], state_dir=tmp_path
    )
    assert not choice.confined
    assert "apt install bubblewrap" in choice.reason


def test_a_broken_bubblewrap_is_detected(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    choice = make_sandbox(
        workspace=workspace, enabled=True, network=False, writable=[], state_dir=tmp_path
    )
    assert not choice.confined
    assert "No permissions to create new namespace" in choice.reason


@pytest.mark.parametrize(
    ("setting", "value", "fix"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "apparmor_parser -r"),
        ("kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "max_user_namespaces="),
    ],
)
def test_what_keeps_bubblewrap_from_working_is_named(
    setting: str,
    value: str,
    fix: str,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = tmp_path / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(
        sandbox_obstacles, "kernel_setting", lambda name: value if name == setting else ""
    )
    choice = make_sandbox(
        workspace=workspace, enabled=True, network=False, writable=[], state_dir=tmp_path
    )
    assert "setting up uid map" in choice.reason
    assert "namespaces" in choice.reason
    assert fix in choice.fix


def test_a_home_directory_gets_no_sandbox(home: Path, tmp_path: Path) -> None:
    for root in (home, home.parent):
        choice = make_sandbox(
            workspace=root, enabled=True, network=False, writable=[], state_dir=tmp_path
        )
        assert not choice.confined
        assert "home directory" in choice.reason
