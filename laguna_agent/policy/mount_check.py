"""Checks, in a sandbox and before anything else runs there, that its mounts are in their places.

bubblewrap follows symbolic links in the paths that it mounts. A command that runs in another shell
of the same workspace can put a link in the place of a folder meanwhile, which would lead a
writable mount anywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

_CHANGED = "laguna: the workspace changed while the sandbox was made; try again"
_CHECK = r"""
stat=$1 count=$2; shift 2
places=("${@:1:count}"); shift "$count"
inodes=("${@:1:count}"); shift "$count"
declare -A mounted
while read -r _ _ _ _ place _; do
  printf -v place %b "${place//\\/\\0}"; mounted[$place]=1
done </proc/self/mountinfo
mapfile -t found <<<"$("$stat" -c %d:%i -- "${places[@]}")"
for i in "${!places[@]}"; do
  if [[ ! ${mounted[${places[i]}]} || ${inodes[i]:-${found[i]}} != "${found[i]}" ]]; then
    echo "$0" >&2; exit 126
  fi
done
exec "$@"
"""


def inode_without_links(path: str) -> str | None:
    """Device and inode of an absolute path, as `stat` shows them; None if a link is part of it."""
    descriptor = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        for part in Path(path).parts[1:]:
            flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(part, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        info = os.fstat(descriptor)  # of a link itself, which cannot be mounted over
        return None if stat.S_ISLNK(info.st_mode) else f"{info.st_dev}:{info.st_ino}"
    except OSError:
        return None
    finally:
        os.close(descriptor)


def checked(argv: Sequence[str], places: Mapping[str, str], bash: str, program: str) -> list[str]:
    """`argv`, once each of `places` is a mount, and shows the inode that it is given with, if
    any. `program` is stat."""
    if not places:
        return list(argv)
    known = [str(len(places)), *places, *places.values()]
    return [bash, "-p", "-c", _CHECK, _CHANGED, program, *known, *argv]
