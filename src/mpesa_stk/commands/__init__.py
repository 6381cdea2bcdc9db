"""The commands of `mpesa-stk`, one file a command or family of commands."""
