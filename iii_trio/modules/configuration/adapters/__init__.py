"""Where the entries of the configuration module are kept."""
