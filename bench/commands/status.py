"""Exit statuses of the command line, beside 0 and a command's own 1."""

BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 2, 130, 141
