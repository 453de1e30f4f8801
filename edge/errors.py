"""Errors that a user can mend: one line that says what to do, and an exit code.

::

    TapetumError           1  anything else: port taken, state folder not writable
    ├── ConfigError        2  usage or configuration
    ├── InputError         3  camera, clip, image, folder
    ├── BundleError        4  bundle missing, altered, or of the wrong shape
    ├── RefusedError       1  a command, or a change of a value, that the unit does not carry out
    └── StoppedError       0  told to stop before it was up

Anything that is not a TapetumError is a bug and keeps its traceback.
"""


class TapetumError(Exception):
    """Base of all user-facing errors. `str(error)` is one line for the terminal."""

    exit_code = 1


class ConfigError(TapetumError):
    """The command line or the TOML file is wrong."""

    exit_code = 2


class InputError(TapetumError):
    """A camera, clip, image or folder cannot be read."""

    exit_code = 3


class BundleError(TapetumError):
    """A model bundle is missing, altered, or does not have the shape it declares."""

    exit_code = 4


class RefusedError(TapetumError):
    """A command, or a change of a run-time value, is refused; `str(error)` is the reason, without outside text."""


class StoppedError(TapetumError):
    """The service was told to stop while it started, and did."""

    exit_code = 0


def one_line(text: str, most: int = 200) -> str:
    """Text from outside as a line may show it: what no terminal shows becomes ?, and a long one loses its middle."""
    half = (most - 5) // 2
    short = text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"
    return "".join(letter if letter.isprintable() else "?" for letter in short)
