"""What `laguna --help` prints: the commands and flags on one screen, without a parser."""

from __future__ import annotations

GROUPS = {
    "start": {
        "demo": "watch laguna fix a failing test in a temporary copy",
        "doctor": "check what works here, and what to type about the rest",
        "models": "list, fetch and choose models",
        "trust": "let laguna read this repository's own settings",
        "config": "show, find and edit the configuration",
        "completion": "complete commands and names in bash, zsh or fish",
    },
    "work": {
        "sessions": "list, show, export and delete past sessions",
        "memory": "search and edit what laguna remembers of past work",
        "undo": "undo the file changes of the last turn",
        "acp": "serve editors: Zed, JetBrains, Neovim, Emacs, VS Code",
    },
    "inside": {
        "prompts": "show and edit prompt packs, the text that the model reads",
        "mcp": "add, test and list MCP servers: tools for the model",
        "engine": "show and stop the processes that run models",
        "bench": "measure the engine on this machine",
        "eval": "run a suite of tasks and report how many are solved",
    },
}
"""Subcommands by group, each with what it is for."""

_HEAD = """\
usage: laguna [PROMPT]      the terminal interface, in this repository
       laguna --task TEXT   one task without it, for scripts; - reads the text
       laguna COMMAND       `laguna COMMAND --help` explains one, with examples"""
_FLAGS = """\
flags    --check COMMAND --mode ask|accept-edits|auto|allow-all --plan -C DIR
         --model NAME --pack NAME --thinking --no-thinking --temperature T
         --seed N --continue --resume ID --fork ID --no-memory --trust --offline
         --max-steps N --max-tokens N --timeout SECONDS --logprobs --verbose
         --output text|json|stream-json --version; `laguna help flags` explains
exit     0 done, 1 failed, 2 usage, 3 model, 4 denied, 5 limit, 130 interrupted
"""


def overview() -> str:
    """The help, of at most 24 lines and 80 columns."""
    lines = [
        f"{group if number == 0 else '':8} {name:11} {text}"
        for group, commands in GROUPS.items()
        for number, (name, text) in enumerate(commands.items())
    ]
    return "\n".join([_HEAD, *lines, _FLAGS])
