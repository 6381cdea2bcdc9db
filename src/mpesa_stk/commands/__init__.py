"""What the `mpesa-stk` command can do, one file a command or family of commands."""
