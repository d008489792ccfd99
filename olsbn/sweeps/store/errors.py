"""What can be wrong with a store."""

from olsbn.files import UnsafeFile


class StoreError(UnsafeFile):
    """A store that cannot be used: not a store, damaged, of another sweep, or with another writer."""


class Damaged(StoreError):
    """A file of a store that is not as it was written, or belongs to another place."""
