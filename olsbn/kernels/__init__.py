"""The dynamics as arithmetic on arrays: deflated coordinates in, numbers out. Nothing here knows the theory."""
