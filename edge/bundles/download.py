"""A bundle's archive from a web server on the local net, and from nowhere else.

The name is looked up once, and the connection goes to the very address that was checked. No proxy is asked and no
redirect followed. What comes is not trusted: its signature is checked as that of any other archive.
"""

from __future__ import annotations

import http
import http.client
import ipaddress
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from typing import BinaryIO, Final
from urllib.parse import SplitResult, urlsplit

from edge.bundles.install import SPARE_BYTES
from edge.errors import ConfigError, InputError, TapetumError, one_line

LARGEST: Final = 2 << 30  # bytes of an archive
SILENCE_S: Final = 30.0  # of the server, after which it is given up
LONGEST_S: Final = 3600.0  # for the whole archive
_CHUNK: Final = 1 << 18
_HEADERS: Final = {"Accept-Encoding": "identity", "Connection": "close", "User-Agent": "tapetum-edge"}
# Private use, link-local and loopback: RFC 1918, 3927, 1122; 4193, 4291.
_LOCAL_4: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8")
_LOCAL_6: Final = ("fc00::/7", "fe80::/10", "::1/128")
_LOCAL: Final = tuple(map(ipaddress.ip_network, (*_LOCAL_4, *_LOCAL_6)))

Progress = Callable[[int, int | None], None]  # bytes so far, and in all where the server says so


def is_url(text: str) -> bool:
    """Whether what was given is an address of the web, and no path."""
    return text.startswith(("http://", "https://"))


def download(
    url: str,
    file: BinaryIO,
    *,
    longest_s: float = LONGEST_S,
    silence_s: float = SILENCE_S,
    on_progress: Progress = lambda done, total: None,
) -> None:
    """Write what `url` gives into a file.

    Raises:
        ConfigError: the address is none, or not on the local net.
        InputError: the server cannot be reached, gives something else, too much, or ends before all has come.
        TapetumError: the disk would be full.
        OSError: the file cannot be written.
    """
    parts = _parsed(url)
    with closing(_chunks(url, parts, longest_s, silence_s, on_progress)) as chunks:
        for chunk in chunks:
            if shutil.disk_usage(file.fileno()).free < len(chunk) + SPARE_BYTES:
                raise TapetumError(
                    f"{url}: no room for it, with {SPARE_BYTES >> 20} MiB that must stay free: make room"
                )
            file.write(chunk)


def is_local(address: str) -> bool:
    """Whether an IP address is of this machine or of the net that it is in."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(mapped in network for network in _LOCAL)


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_plain = parts.port != 0 and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        is_plain = False
    if not is_plain or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{one_line(url)}: not an address: give http://HOST[:PORT]/FILE.tar.gz")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("a login in the address is not supported: put the archive where none is asked for")
    return parts


def _chunks(
    url: str, parts: SplitResult, longest_s: float, silence_s: float, on_progress: Progress
) -> Generator[bytes, None, None]:
    """What the server gives, as it comes."""
    with _told(url), _connected(parts, silence_s) as line, _deadline(url, line, longest_s):
        connection = http.client.HTTPConnection(parts.netloc)
        connection.sock = line
        target = parts.path or "/"
        connection.request("GET", f"{target}?{parts.query}" if parts.query else target, headers=_HEADERS)
        with connection.getresponse() as response:
            total = _total(url, response)
            done = 0
            while chunk := response.read1(_CHUNK):
                done += len(chunk)
                if done > LARGEST:
                    raise InputError(_too_large(url))
                yield chunk
                on_progress(done, total)
    if total is not None and done < total:
        raise InputError(f"{url}: it ended after {done} of {total} bytes: try again")


def _connected(parts: SplitResult, silence_s: float) -> socket.socket:
    """A connection to a local address of the host, the first that answers."""
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [address for *_, address in found if is_local(str(address[0]))]
    if not addresses:
        raise ConfigError(f"{host} ({found[0][4][0]}) is not on the local net: fetch the file, then install that")
    error = OSError()
    for address in addresses:
        try:
            line = socket.create_connection((str(address[0]), port), silence_s)
        except OSError as failed:
            error = failed
        else:
            return _secured(line, host) if parts.scheme == "https" else line
    raise error


def _secured(line: socket.socket, host: str) -> socket.socket:
    """TLS by the system's authorities, or those that the environment's SSL_CERT_FILE names."""
    try:
        return ssl.create_default_context().wrap_socket(line, server_hostname=host)
    except BaseException:
        line.close()
        raise


def _total(url: str, response: http.client.HTTPResponse) -> int | None:
    if response.status != http.HTTPStatus.OK:
        cure = "give the address of the file itself" if response.status // 100 == 3 else "look at the server"
        raise InputError(f"{url}: the server answers {response.status} {one_line(response.reason, 60)}: {cure}")
    length = response.getheader("Content-Length", "")
    total = int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else None
    if total is not None and total > LARGEST:
        raise InputError(_too_large(url))
    return total


def _too_large(url: str) -> str:
    return f"{url}: over {LARGEST >> 30} GiB: not the archive of a bundle"


@contextmanager
def _deadline(url: str, line: socket.socket, longest_s: float) -> Iterator[None]:
    """End a connection that takes too long, also one that gives a byte now and then."""
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(longest_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if not is_over.is_set():
            raise
    finally:
        timer.cancel()
    if is_over.is_set():
        raise InputError(f"{url}: not here after {longest_s:g} s: try again, or bring the file")


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What a server and the way to it can do, in one line."""
    try:
        yield
    except TimeoutError as error:
        raise InputError(f"{url}: the server is silent: try again, or bring the file") from error
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message.rstrip(".")
        raise InputError(f"{url}: certificate not trusted: {why}: name its authority in SSL_CERT_FILE") from error
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{url}: cannot be fetched: {one_line(str(reason))}: look at the server") from error
    except http.client.HTTPException as error:
        reason = one_line(f"{type(error).__name__} {error}".strip(), 80)
        raise InputError(f"{url}: no web server: {reason}: look at the server") from error
