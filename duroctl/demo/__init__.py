"""``duroctl demo``: an eternal orchestration at work on a copy of the reader's own files."""
