"""Everything at once, in processes of its own: workers, those who prune, purge, clean up, archive and restore, and
clients, while any of them is killed or stopped and the clock is put forward and back."""
