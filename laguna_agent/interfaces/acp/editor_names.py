"""The editors that `laguna acp --print-config` knows; apart, so that `--help` imports nothing."""

EDITORS = ("zed", "jetbrains", "codecompanion", "avante", "agent-shell", "vscode")
