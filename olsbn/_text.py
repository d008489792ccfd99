"""Text from names of files."""


def as_text(name: str) -> str:
    """Return a name of a file as text that can be stored: bytes that are no UTF-8 become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
