from __future__ import annotations

import socket
from pathlib import Path

import httpx
import openai
import pytest
from support.servers import client, served

from nextword.cli.main import main
from nextword.serving.security import access_for

KEY = "a-long-secret"
ROUTES = ("/v1/models", "/metrics", "/tokenizer_info", "/openapi.json", "/nothing")


def test_another_address_than_this_machines_needs_a_key(
    writer: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        assert main(["serve", str(writer), "--host", host]) == 2
        assert "there is no key" in capsys.readouterr().err
    (tmp_path / "key").write_text("schlüssel ✓")
    assert main(["serve", str(writer), "--key-file", str(tmp_path / "key")]) == 2
    assert "holds what no header can" in capsys.readouterr().err
    assert main(["serve", str(writer), "--key-file", str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(writer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", str(writer), "--port", str(taken.getsockname()[1])]) == 2
    assert "is in use; choose another --port" in capsys.readouterr().err


def test_every_route_but_health_needs_the_key(writer: Path) -> None:
    with served(writer, key=KEY) as at:
        assert httpx.get(f"{at}/health").status_code == 200
        for route in ROUTES:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}):
                refused = httpx.get(f"{at}{route}", headers=headers)
                assert refused.status_code == 401, route
                assert refused.json()["error"]["code"] == "invalid_api_key"
            allowed = httpx.get(f"{at}{route}", headers={"Authorization": f"Bearer {KEY}"})
            assert allowed.status_code == (404 if route == "/nothing" else 200)
        assert client(at, KEY).completions.create(model="tiny", prompt="a").choices
        with pytest.raises(openai.AuthenticationError):
            client(at, "wrong").completions.create(model="tiny", prompt="a")


def test_a_browser_is_given_the_key_once(writer: Path) -> None:
    with served(writer, key=KEY) as at, httpx.Client(base_url=at) as browser:
        opened = browser.get(f"/v1/models?key={KEY}&a=b")
        assert opened.status_code == 303 and opened.headers["location"] == "/v1/models?a=b"
        cookie = opened.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert browser.get("/v1/models").status_code == 200
        assert browser.get("/v1/models", headers={"Origin": "https://x.org"}).status_code == 403
        browser.cookies.clear()
        assert browser.get("/v1/models?key=wrong-one").status_code == 401
    scope = {"method": "GET", "path": "//evil.org/", "query_string": f"key={KEY}".encode()}
    answer = access_for("127.0.0.1", KEY, [], []).unlocked(scope)
    assert answer is not None and answer.headers["location"] == "/evil.org/", "not //evil.org/"


def test_a_name_that_is_led_here_is_not_answered(address: str) -> None:
    port = address.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        assert httpx.get(f"{address}/health", headers={"Host": host}).status_code == 200
    for host in ("evil.org", f"evil.org:{port}", "127.0.0.1.evil.org", "192.168.0.9", "[", ""):
        refused = httpx.get(f"{address}/v1/models", headers={"Host": host})
        assert refused.status_code in (400, 403), host


def test_pages_from_elsewhere_are_not_answered_unless_they_may_ask(writer: Path) -> None:
    page = "https://example.org"
    with served(writer, allow_origin=[page], allow_host=["models.lan"], key=KEY) as at:
        own = {"Authorization": f"Bearer {KEY}"}

        def ask(origin: str) -> httpx.Response:
            return httpx.get(f"{at}/v1/models", headers={"Origin": origin} | own)

        assert ask(at).status_code == 200
        assert ask(page).headers["access-control-allow-origin"] == page
        for origin in ("null", "https://evil.org", "https://example.org.evil.org", "file://"):
            assert ask(origin).status_code == 403
        asking = {"Origin": page, "Access-Control-Request-Method": "POST"}
        asking |= {"Access-Control-Request-Headers": "authorization, content-type"}
        preflight = httpx.options(f"{at}/v1/completions", headers=asking)
        assert preflight.status_code == 200
        assert httpx.get(f"{at}/health", headers={"Host": "models.lan"}).status_code == 200


def test_an_address_of_all_networks_answers_under_addresses_but_not_under_any_name() -> None:
    access = access_for("0.0.0.0", KEY, ["box.lan"], [])

    def refuses(host: str) -> bool:
        headers = [(b"host", host.encode()), (b"authorization", f"Bearer {KEY}".encode())]
        error = access.refusal({"type": "http", "method": "GET", "path": "/", "headers": headers})
        return error is not None

    assert not any(map(refuses, ["192.168.1.4:8000", "[2001:db8::1]:80", "box.lan", "localhost"]))
    assert not refuses(socket.gethostname())
    assert all(map(refuses, ["evil.org", "1.2.3.4.evil.org"]))
