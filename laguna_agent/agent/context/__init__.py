"""What goes into the prompt: the first message, later messages, notes, compaction."""
