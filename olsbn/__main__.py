"""``python -m olsbn`` is the command `olsbn`."""

from olsbn.cli import start

if __name__ == "__main__":
    start()
