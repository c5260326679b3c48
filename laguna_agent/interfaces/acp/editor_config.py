"""What to put into an editor's settings so that it starts `laguna acp`."""

from __future__ import annotations

import json

from laguna_agent.programs import laguna_command


def editor_config(editor: str) -> str:
    """The lines for one of `EDITORS`, with this laguna's absolute path: editors that were not
    started from a shell have another PATH."""
    command = laguna_command()
    match editor:
        case "zed":
            server = {"type": "custom", "command": command, "args": ["acp"], "env": {}}
            return _json({"agent_servers": {"laguna": server}})
        case "jetbrains":
            server = {"command": command, "args": ["acp"], "env": {}}
            return _json({"agent_servers": {"laguna": server}})
        case "vscode":
            agent = {"command": command, "args": ["acp"], "env": {}}
            return _json({"acp.agents": {"laguna": agent}})
        case "codecompanion":
            return _CODECOMPANION.replace("COMMAND", json.dumps(command))
        case "avante":
            return _AVANTE.replace("COMMAND", json.dumps(command))
        case _:
            return _AGENT_SHELL.replace("COMMAND", json.dumps(command))


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


_CODECOMPANION = """\
require("codecompanion").setup({
  adapters = {
    acp = {
      laguna = function()
        return require("codecompanion.adapters").extend("opencode", {
          name = "laguna",
          formatted_name = "laguna",
          opts = { vision = false },
          commands = { default = { COMMAND, "acp" } },
        })
      end,
    },
  },
  interactions = { chat = { adapter = "laguna" } },
})"""

_AVANTE = """\
require("avante").setup({
  provider = "laguna",
  acp_providers = {
    laguna = { command = COMMAND, args = { "acp" } },
  },
})"""

_AGENT_SHELL = """\
(with-eval-after-load 'agent-shell
  (add-to-list 'agent-shell-agent-configs
               (agent-shell-make-agent-config
                :identifier 'laguna
                :mode-line-name "laguna"
                :buffer-name "laguna"
                :shell-prompt "laguna> "
                :shell-prompt-regexp "laguna> "
                :client-maker
                (lambda (buffer)
                  (acp-make-client :command COMMAND
                                   :command-params '("acp")
                                   :context-buffer buffer)))))"""
