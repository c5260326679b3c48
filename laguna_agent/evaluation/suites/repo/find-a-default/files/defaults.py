DEFAULTS = {"attempts": 6, "workers": 4, "retries": 9}
