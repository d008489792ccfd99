"""``python -m olsbn`` is the command `olsbn`."""

from olsbn.cli import main

if __name__ == "__main__":
    main()
