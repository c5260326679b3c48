#!/bin/sh
# Installs laguna for this user, with a llama.cpp that is built for this machine.
# Safe to run again: keeps what is installed and adds what is missing. See `--help`.
set -eu

usage() {
    cat <<'TEXT'
Usage: ./install.sh [options]

Installs laguna into a private Python environment and links the command `laguna`.
Running it again updates the installation.

Backend of llama.cpp (default: the best one found)
  --cpu            processor only, with its native instructions
  --cuda           NVIDIA graphics cards; needs the CUDA toolkit (nvcc)
  --metal          Apple silicon
  --vulkan         other graphics cards; needs the Vulkan SDK (glslc)

  --prefix DIR     install under DIR (DIR/bin/laguna) instead of your home directory
  --demo           then fetch the starter model (1.1 GB) and let it fix a failing test
  --dev            make a development environment in .venv, with the tools for the tests
  --uninstall      remove laguna; models, settings and sessions stay
  --models         with --uninstall: remove the models too
  --help           show this text

Environment: PYTHON names the Python to use; LAGUNA_HOME, XDG_DATA_HOME and XDG_CACHE_HOME set
where files go; pip's own configuration (mirrors, proxies) applies.
TEXT
}

say() { printf '%s\n' "$*"; }
note() { printf 'note: %s\n' "$*"; }
die() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

# --- options --------------------------------------------------------------------------------

backend=auto prefix='' demo=no dev=no uninstall=no models=no
while [ $# -gt 0 ]; do
    case $1 in
        --cpu | --cuda | --metal | --vulkan) backend=${1#--} ;;
        --prefix)
            [ $# -ge 2 ] || die "--prefix needs a directory"
            prefix=$2
            shift
            ;;
        --prefix=*) prefix=${1#--prefix=} ;;
        --demo) demo=yes ;;
        --dev) dev=yes ;;
        --uninstall) uninstall=yes ;;
        --models) models=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die "unknown option $1 (see ./install.sh --help)" ;;
    esac
    shift
done
[ "$models" = no ] || [ "$uninstall" = yes ] || die "--models needs --uninstall"

source=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
system=$(uname -s)
machine=$(uname -m)
case $system in
    Linux)
        data=${XDG_DATA_HOME:-$HOME/.local/share}/laguna
        cache=${XDG_CACHE_HOME:-$HOME/.cache}/laguna
        ;;
    Darwin)
        data="$HOME/Library/Application Support/laguna"
        cache=$HOME/Library/Caches/laguna
        ;;
    *) die "laguna runs on Linux and macOS, not on $system" ;;
esac
[ -z "${LAGUNA_HOME:-}" ] || data=$LAGUNA_HOME/data
if [ -n "$prefix" ]; then
    case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
    venv=$prefix/share/laguna/venv
    bin=$prefix/bin
else
    venv=$data/venv
    bin=$HOME/.local/bin
fi
[ "$dev" = no ] || venv=$source/.venv

# --- uninstall ------------------------------------------------------------------------------

if [ "$uninstall" = yes ]; then
    if [ -L "$bin/laguna" ] && [ "$(readlink "$bin/laguna")" = "$venv/bin/laguna" ]; then
        rm -f "$bin/laguna"
    fi
    if [ -f "$venv/.laguna" ]; then
        rm -rf "$venv"
        say "Removed laguna from $venv."
    else
        say "laguna is not installed in $venv."
    fi
    [ -n "$prefix" ] || rm -rf "$cache/wheels"
    if [ "$models" = yes ]; then
        rm -rf "$data/models" "$data/snapshots"
        say "Removed the models in $data/models."
    elif [ -d "$data/models" ]; then
        say "Models stay in $data/models (--uninstall --models removes them)."
    fi
    exit 0
fi

[ -f "$source/pyproject.toml" ] || die "run this script from a clone of laguna: $source has no pyproject.toml"

# --- requirements ---------------------------------------------------------------------------

is_root() { [ "$(id -u)" = 0 ]; }
has() { command -v "$1" >/dev/null 2>&1; }

usable_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && has "$candidate" && usable_python "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
}

compiler() {
    if [ "$system" = Darwin ]; then
        xcode-select -p >/dev/null 2>&1
    else
        { has "${CC:-cc}" || has gcc || has clang; } && { has "${CXX:-c++}" || has g++ || has clang++; }
    fi
}

has_venv() { [ -n "$python" ] && "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Prints the command that installs packages, given by their Debian names, on this system.
install_line() {
    if has apt-get; then
        manager="apt-get install"
    elif has dnf; then
        manager="dnf install"
    elif has pacman; then
        manager="pacman -S"
    elif has brew; then
        manager="brew install"
    else
        manager="install"
    fi
    names=''
    for name in "$@"; do
        case ${manager%% *}:$name in
            apt-get:*) ;;
            *:python3-venv) continue ;;
            dnf:build-essential) name="gcc gcc-c++" ;;
            pacman:build-essential) name=base-devel ;;
            *:build-essential) name="a C++ compiler" ;;
            pacman:python3 | brew:python3) name=python ;;
        esac
        names="$names $name"
    done
    if is_root || [ "$manager" = install ] || [ "$manager" = "brew install" ]; then
        say "$manager$names"
    else
        say "sudo $manager$names"
    fi
}

python=$(find_python)
packages=''
[ -n "$python" ] || packages="$packages python3"
has_venv || packages="$packages python3-venv"
[ "$system" = Darwin ] || compiler || packages="$packages build-essential"
has git || packages="$packages git"
has rg || packages="$packages ripgrep"
[ "$system" = Darwin ] || has bwrap || packages="$packages bubblewrap"
packages=${packages# }

if [ -n "$packages" ] && is_root && has apt-get; then
    say "Installing $packages"
    # shellcheck disable=SC2086 # a list of words
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages; } >/dev/null 2>&1 </dev/null; then
        note "apt-get could not install all of these: $packages"
    fi
    python=$(find_python)
    packages=''
fi

if [ -z "$python" ]; then
    die "laguna needs Python 3.11 or newer and found none: $(install_line python3 python3-venv), or set PYTHON=/path/to/python3"
fi
if ! has_venv && [ ! -x "$venv/bin/python" ]; then
    die "$python cannot make virtual environments: $(install_line python3-venv)"
fi

# --- choosing the build of llama.cpp --------------------------------------------------------

nvcc=''
if has nvcc; then
    nvcc=$(command -v nvcc)
elif [ -x /usr/local/cuda/bin/nvcc ]; then
    nvcc=/usr/local/cuda/bin/nvcc
fi

if [ "$backend" = auto ]; then
    backend=cpu
    if [ "$system" = Darwin ]; then
        [ "$machine" != arm64 ] || backend=metal
    elif has nvidia-smi && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
        if [ -n "$nvcc" ]; then
            backend=cuda
        else
            note "building for the processor, because nvcc is missing; to use the NVIDIA card, install the CUDA toolkit and run ./install.sh --cuda"
        fi
    fi
fi

options='-DLLAVA_BUILD=OFF -DGGML_NATIVE=ON'
case $backend in
    cpu) [ "$system" != Darwin ] || options="$options -DGGML_METAL=OFF" ;;
    cuda)
        [ -n "$nvcc" ] || die "--cuda needs the CUDA toolkit (nvcc), which is not installed; install it, or use --cpu or --vulkan"
        options="$options -DGGML_CUDA=ON -DCMAKE_CUDA_COMPILER=$nvcc"
        ;;
    metal)
        [ "$system" = Darwin ] || die "--metal needs macOS"
        options="$options -DGGML_METAL=ON"
        ;;
    vulkan)
        has glslc || die "--vulkan needs the Vulkan SDK (glslc), which is not installed; install it, or use --cpu"
        options="$options -DGGML_VULKAN=ON"
        ;;
esac

# GCC before 11.5, 12.4 and 13.3 drops most of the stores that `ldtilecfg` reads, and llama.cpp then
# crashes with an illegal instruction on processors with AMX. With such a compiler it is built
# without AMX. The probe stores 123, which a broken compiler drops.
amx=''
if [ "$system" = Linux ] && grep -q amx_int8 /proc/cpuinfo 2>/dev/null; then
    probe='#include <immintrin.h>
    void f() { alignas(64) unsigned char c[64] = {1}; c[48] = 123; _tile_loadconfig(c); }'
    compiled=$(say "$probe" | "${CXX:-c++}" -x c++ -O2 -mamx-tile -S -o - - 2>/dev/null || :)
    case $compiled in
        *ldtilecfg*123* | *123*ldtilecfg* | '') ;;
        *)
            amx=-noamx
            options="$options -DCMAKE_CXX_FLAGS=-U__AMX_INT8__"
            ;;
    esac
fi

version=$(sed -n 's/^ *"llama-cpp-python[>=]=\([0-9.]*\)".*/\1/p' "$source/pyproject.toml")
[ -n "$version" ] || die "pyproject.toml does not name the llama-cpp-python version to build"
if [ "$system" = Darwin ]; then
    cpu=$(sysctl -n machdep.cpu.brand_string 2>/dev/null || say unknown)
else
    # A native build runs on any processor with the same features.
    cpu=$(grep -m 1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null || say unknown)
fi
cpu=$(printf '%s' "$cpu" | cksum | cut -d ' ' -f 1)
tag=$("$python" -c 'import sys; print("py%d%d" % sys.version_info[:2])')
key=$version-$backend-$(printf '%s' "$system-$machine" | tr '[:upper:]' '[:lower:]')-$cpu$amx-$tag
wheels=$cache/wheels/llama-cpp-python-$key

cached_wheel() {
    for file in "$wheels"/llama_cpp_python-*.whl; do
        if [ -f "$file" ]; then
            printf '%s' "$file"
            return
        fi
    done
}
wheel=$(cached_wheel)

if [ -z "$wheel" ] && ! compiler; then
    if [ "$system" = Darwin ]; then
        die "building llama.cpp needs a C++ compiler and found none: xcode-select --install"
    fi
    die "building llama.cpp needs a C++ compiler and found none: $(install_line build-essential)"
fi

# --- disk -----------------------------------------------------------------------------------

# require_disk MB DIR WHAT: end with an error unless that much is free
require_disk() {
    directory=$2
    while [ ! -d "$directory" ]; do directory=$(dirname -- "$directory"); done
    [ -w "$directory" ] || die "$directory cannot be written; choose another directory with --prefix DIR"
    free=$(df -Pk "$directory" | awk 'NR == 2 { printf "%d", $4 / 1024 }')
    [ "$free" -ge "$1" ] || die "not enough disk space in $directory: $3 needs $1 MB, $free MB are free"
}
require_disk 600 "$venv" "laguna"
[ -n "$wheel" ] || require_disk 1500 "${TMPDIR:-/tmp}" "building llama.cpp"
[ "$demo" = no ] || [ -f "$data/models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf" ] || require_disk 1400 "$data" "the starter model"
[ "$dev" = yes ] || require_disk 1 "$bin" "the command"

# --- installing -----------------------------------------------------------------------------

scratch=$(mktemp -d "${TMPDIR:-/tmp}/laguna-install.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
log=$scratch/log

keep_log() {
    kept=${TMPDIR:-/tmp}/laguna-install.log
    cp "$log" "$kept" 2>/dev/null || kept=$log
}

# step WHAT COMMAND...: run the command and report it; its output is kept if it fails
step() {
    what=$1
    shift
    printf '%s ... ' "$what"
    begin=$(date +%s)
    if "$@" >"$log" 2>&1 </dev/null; then
        say "$(($(date +%s) - begin)) s"
        return
    fi
    say failed
    keep_log
    if grep -qiE 'name resolution|name or service not known|nodename nor servname|network is unreachable|failed to establish a new connection|connection refused|max retries' "$log"; then
        die "the package index cannot be reached: check the network, or pip's configuration of mirrors and proxies (log: $kept)"
    fi
    if grep -qi 'no space left' "$log"; then
        die "the disk is full (log: $kept)"
    fi
    if grep -qi 'no matching distribution' "$log"; then
        missing=$(sed -n 's/.*No matching distribution found for \([^ ]*\).*/\1/p' "$log" | head -n 1)
        die "the package index does not offer $missing: check the network, or pip's configuration of mirrors and proxies (log: $kept)"
    fi
    reason=$(grep -E '(ERROR|error|Error):' "$log" | tail -n 1 | cut -c 1-200)
    die "$what failed: ${reason:-see the log} (log: $kept)"
}

if ! "$venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    if [ "$dev" = yes ] && [ -d "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
        die "$venv exists and is not a Python environment; move it away"
    fi
    mkdir -p "$(dirname -- "$venv")"
    step "Creating a Python environment in $venv" "$python" -m venv --clear "$venv"
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }

build_wheel() {
    # No cache: pip's cache of built wheels does not know the build options. pip builds in TMPDIR.
    CMAKE_ARGS="$options ${CMAKE_ARGS:-}" pip wheel --no-deps --no-cache-dir \
        --no-binary llama-cpp-python --wheel-dir "$scratch/wheel" "llama-cpp-python==$version"
}

if [ -z "$wheel" ]; then
    [ -z "$amx" ] || note "${CXX:-c++} is too old to use this processor's AMX: building llama.cpp without it (GCC 12.4, 13.3 and newer support it)"
    step "Building llama.cpp for $backend (3 to 5 minutes, once)" build_wheel
    mkdir -p "$(dirname -- "$wheels")"
    # Renamed as a whole, so that a concurrent installation sees all of it or nothing.
    mkdir -p "$scratch/keep"
    cp "$scratch"/wheel/llama_cpp_python-*.whl "$scratch/keep/"
    rm -rf "$wheels.$$"
    cp -R "$scratch/keep" "$wheels.$$"
    mv "$wheels.$$" "$wheels" 2>/dev/null || rm -rf "$wheels.$$"
    wheel=$(cached_wheel)
fi

installed=$(cat "$venv/.laguna" 2>/dev/null || :)
case $installed in
    *"llama $key"*) ;;
    *) step "Installing llama.cpp" pip install --force-reinstall --no-deps "$wheel" ;;
esac

if [ "$dev" = yes ]; then
    step "Installing laguna and its development tools" pip install -e "${source}[dev]"
else
    # Build from a copy: this leaves no files in the clone and uses no stale ones from it.
    mkdir "$scratch/source"
    for item in laguna_agent tools models prompts pyproject.toml README.md LICENSE; do
        cp -R "$source/$item" "$scratch/source/"
    done
    step "Installing laguna" pip install --upgrade --upgrade-strategy only-if-needed "$scratch/source"
fi

# The command: in isolated mode, so that Python takes no modules from PYTHONPATH or from the working
# directory, which is a repository that may be hostile.
write_command() {
    quoted=$(printf '%s' "$venv/bin/python" | sed "s/'/'\\\\''/g")
    code='import sys; from laguna_agent.cli import main; sys.exit(main())'
    printf '#!/bin/sh\nexec '\''%s'\'' -I -c '\''%s'\'' "$@"\n' "$quoted" "$code" >"$venv/bin/laguna.new"
    chmod 755 "$venv/bin/laguna.new"
    mv -f "$venv/bin/laguna.new" "$venv/bin/laguna"
}
write_command

# Some compilers build libraries that crash on the very machine they were built for.
case $installed in
    *"llama $key"*) ;;
    *)
        if ! (cd / && "$venv/bin/python" -m laguna_agent.models.engine.selftest_process) >"$log" 2>&1 </dev/null; then
            keep_log
            rm -rf "$wheels"
            rm -f "$venv/.laguna"
            die "llama.cpp was built but does not run on this machine; try another compiler, such as CC=gcc-13 CXX=g++-13 ./install.sh (log: $kept)"
        fi
        ;;
esac
printf 'llama %s\n' "$key" >"$venv/.laguna"

if [ "$dev" = no ]; then
    mkdir -p "$bin"
    if [ -e "$bin/laguna" ] && [ ! -L "$bin/laguna" ]; then
        die "$bin/laguna exists and is not a link to laguna; move it away, or choose another directory with --prefix DIR"
    fi
    ln -sf "$venv/bin/laguna" "$bin/laguna"
    "$bin/laguna" --version >/dev/null || die "laguna was installed but does not start: run $bin/laguna --version"
    say "Installed $("$bin/laguna" --version) ($backend): $bin/laguna"
    case :$PATH: in
        *":$bin:"*) ;;
        *) note "$bin is not on your PATH; add it: export PATH=\"$bin:\$PATH\"" ;;
    esac
else
    say "The development environment is in $venv."
fi
[ -z "$packages" ] || {
    # shellcheck disable=SC2086 # a list of words
    note "recommended packages are missing: $(install_line $packages)"
}

if [ "$demo" = yes ]; then
    "$venv/bin/laguna" models pull starter
    "$venv/bin/laguna" demo
elif [ "$dev" = no ]; then
    say "Next: laguna models pull starter (1.1 GB, any machine) or laguna models pull laguna-xs-2.1 (16 to 36 GB, as fits)"
fi
