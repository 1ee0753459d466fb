"""runtime_config.toml as values: read, checked with every error at once, edited with its comments kept, watched."""
