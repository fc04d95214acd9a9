from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextword import addresses

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def s3_settings() -> dict[str, str]:
    """The environment in which S3 is a server of this machine, whether or not it runs yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture(scope="session")
def s3_server(s3_settings: dict[str, str]) -> Iterator[str]:
    """The address of moto's S3; what needs it is skipped where it is not installed."""
    program = shutil.which("moto_server")
    command = [program] if program else [sys.executable, "-m", "moto.server"]
    if not program and importlib.util.find_spec("moto") is None:
        pytest.skip("needs moto_server: pip install moto[server]")
    endpoint = s3_settings["AWS_ENDPOINT_URL"]
    port = endpoint.rpartition(":")[2]
    server = subprocess.Popen(
        [*command, "-H", "127.0.0.1", "-p", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while socket.socket().connect_ex(("127.0.0.1", int(port))):
            assert server.poll() is None, "moto_server ended"
            time.sleep(0.1)
        require_uploads(endpoint, s3_settings)
        yield endpoint
    finally:
        server.terminate()
        server.wait()


def require_uploads(endpoint: str, settings: dict[str, str]) -> None:
    """Skip where this moto does not put together what pyarrow uploads in parts, as 5.2.5 does."""
    from pyarrow import fs

    keys = {
        "access_key": settings["AWS_ACCESS_KEY_ID"],
        "secret_key": settings["AWS_SECRET_ACCESS_KEY"],
    }
    system = fs.S3FileSystem(endpoint_override=endpoint, allow_bucket_creation=True, **keys)
    system.create_dir("probe")
    try:
        with system.open_output_stream("probe/file") as stream:
            stream.write(b"whole")
    except OSError:
        pytest.skip("this moto_server cannot complete an upload: 5.2.5 can")


@pytest.fixture
def bucket(
    s3_server: str,
    s3_settings: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache_is_elsewhere: None,
) -> Iterator[str]:
    """An empty bucket, and an empty cache."""
    from pyarrow import fs

    for name, value in s3_settings.items():
        monkeypatch.setenv(name, value)
    addresses.pyarrow_system.cache_clear()
    name = "bucket-" + "".join(c for c in tmp_path.name if c.isdigit() or c.islower())[-40:]
    system = fs.S3FileSystem(endpoint_override=s3_server, allow_bucket_creation=True)
    system.create_dir(name)
    yield f"s3://{name}"
    addresses.pyarrow_system.cache_clear()
