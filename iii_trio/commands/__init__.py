"""The subcommands of `iii-trio`, one module each; imported when they are called."""
