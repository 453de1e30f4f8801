"""Errors that a user can mend: one line that says what to do, and an exit code.

::

    TapetumError           1  anything else: port taken, state folder not writable
    ├── ConfigError        2  usage or configuration
    ├── InputError         3  camera, clip, image, folder
    └── BundleError        4  bundle missing, altered, or of the wrong shape

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
