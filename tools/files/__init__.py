"""Files of the workspace: finding, reading, matching and writing them safely."""
