"""`laguna trust`: what a repository brings along, and whether laguna may read it from now on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from laguna_agent.errors import ExitCode, UsageError
from laguna_agent.paths import repository_root
from laguna_agent.policy import trust
from laguna_agent.policy.sanitize import visible


def main(argv: list[str]) -> int:
    """Show what would be read and trust it, after asking on a terminal; 1 when it was not."""
    parser = argparse.ArgumentParser(
        prog="laguna trust",
        description="Let laguna read this repository's .laguna/, its instruction files and the "
        "scripts that hooks there name, as they are now. A change asks again.",
    )
    parser.add_argument("-C", dest="directory", metavar="DIR", default=".")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--yes", action="store_true", help="trust without asking")
    what.add_argument("--digest", metavar="SHA256", help="trust only if the content has this hash")
    what.add_argument("--show", action="store_true", help="only show what would be trusted")
    what.add_argument("--forget", action="store_true", help="take trust back")
    options = parser.parse_args(argv)
    directory = Path(options.directory).expanduser()
    if not directory.is_dir():
        raise UsageError(f"there is no directory {directory}")
    root = repository_root(directory)
    if options.forget:
        had = trust.forget(root)
        _say(f"{root} is no longer trusted." if had else f"{root} was not trusted.")
        return ExitCode.DONE
    found = trust.content(root)
    if found.empty:
        _say(f"{root} brings nothing that needs trust.")
        return ExitCode.DONE
    _say(f"{root} brings along:")
    for name in found.files:
        _say(f"  {visible(name, single_line=True)}")
    _say(f"sha256 {found.digest}")
    if trust.is_trusted(root):
        _say("It is trusted as it is. `laguna trust --forget` takes that back.")
        return ExitCode.DONE
    if options.show:
        return ExitCode.FAILED
    if not (options.yes or options.digest) and not _agreed(changed=trust.was_trusted(root)):
        _say("Not trusted; nothing of it is read.")
        return ExitCode.FAILED
    trust.trust(root, options.digest or found.digest)
    _say("Trusted until it changes. `laguna trust --forget` takes that back.")
    return ExitCode.DONE


def _agreed(*, changed: bool) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "nobody can be asked here",
            hint="`laguna trust --yes` trusts it, `--digest SHA256` only if it is what you saw.",
        )
    if changed:
        _say("It changed since it was trusted.")
    _say("These files tell laguna what to do and may run programs. Trust them? [y/N]")
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
