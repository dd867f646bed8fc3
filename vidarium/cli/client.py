"""A Nuxeo-compatible server as a client sees it: requests as one user, and its refusals in words."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from vidarium.errors import VidariumError

PATIENCE = httpx.Timeout(60, connect=10)
UPLOAD_PATIENCE = httpx.Timeout(60, connect=10, read=3600)  # the last chunk's answer waits until the file is assembled
PIECE = 256 * 1024


class Unreachable(VidariumError):
    """No answer came: nobody listens there, the name is unknown, the connection broke, the time ran out."""


class Refused(VidariumError):
    """The server answered, but not with what was asked for. `status`: its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status in {408, 429, 500, 502, 503, 504}


class Client:
    """One server, as one user. May be used from several threads.

    Paths are relative to `{url}/api/v1/`. Every call raises Unreachable or Refused; none shows the password.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self.user = user
        self._http = httpx.Client(
            auth=httpx.BasicAuth(user, password),
            timeout=PATIENCE,
            trust_env=not is_loopback(httpx.URL(url).host),  # a proxy of the environment cannot reach this machine
            headers={"Accept": "application/json, */*"},
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, str | int] | None = None, properties: str = "") -> Any:
        """The JSON at a path. `properties` names the schemas that document entities shall carry."""
        headers = {"properties": properties} if properties else {}
        return self._json(self._http.build_request("GET", self._api(path), params=params, headers=headers))

    def post(self, path: str, body: Mapping[str, Any] | None = None, properties: str = "") -> Any:
        """Post a JSON body; the JSON of the answer."""
        headers = {"properties": properties} if properties else {}
        return self._json(self._http.build_request("POST", self._api(path), json=body, headers=headers))

    def post_form(self, path: str, fields: Mapping[str, str | list[str]]) -> Any:
        """Post a form; a list repeats its field. The JSON of the answer."""
        return self._json(self._http.build_request("POST", self._api(path), data=fields))

    def delete(self, path: str) -> None:
        """Delete what lies at a path."""
        self._send(self._http.build_request("DELETE", self._api(path)))

    def send_bytes(self, path: str, content: Iterable[bytes], headers: Mapping[str, str]) -> Any:
        """Post raw bytes piece by piece; `headers` gives their Content-Length. The JSON of the answer."""
        request = self._http.build_request(
            "POST", self._api(path), content=content, headers=headers, timeout=UPLOAD_PATIENCE
        )
        return self._json(request)

    def download(self, url: str, target: Path) -> None:
        """Fetch a URL that this server gave into a file. The credentials go to no other server."""
        here, there = httpx.URL(self.url), httpx.URL(url)
        if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
            raise Refused(0, f"The server names a download at another address ({there.host}); it is not followed.")
        try:
            with self._http.stream("GET", url) as response, target.open("wb") as file:
                if not response.is_success:
                    response.read()
                    raise self._refusal(response)
                for piece in response.iter_bytes(PIECE):
                    file.write(piece)
        except httpx.RequestError as error:
            raise self._unreachable(error) from None

    def _api(self, path: str) -> str:
        return f"{self.url}/api/v1/{path}"

    def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            response = self._http.send(request)
        except httpx.RequestError as error:
            raise self._unreachable(error) from None
        if not response.is_success:
            raise self._refusal(response)
        return response

    def _json(self, request: httpx.Request) -> Any:
        response = self._send(request)
        try:
            return response.json() if response.content else None
        except ValueError:
            raise Refused(
                response.status_code,
                f"{self.url} answers, but not as a Nuxeo-compatible server. Its address usually ends in /nuxeo.",
            ) from None

    def _unreachable(self, error: httpx.RequestError) -> Unreachable:
        reason = str(error) or type(error).__name__
        return Unreachable(f"No answer from {self.url} ({reason}). Is the server running, and is the address right?")

    def _refusal(self, response: httpx.Response) -> Refused:
        status, said = response.status_code, message_of(response)
        if status == 401:
            return Refused(status, f"{self.url} does not accept the user {self.user!r} with this password (401).")
        if status == 403:
            return Refused(status, f"The user {self.user!r} may not do this (403: {said}).")
        if 300 <= status < 400:
            return Refused(status, f"{self.url} sends us elsewhere, to {response.headers.get('Location')}: use that.")
        return Refused(status, f"The server refused ({status}): {said}")


def message_of(response: httpx.Response) -> str:
    """What an error answer says: the exception entity's message, else the reason phrase (spec/rest.md 1.4)."""
    try:
        body = response.json()
    except ValueError:
        body = None
    said = body.get("message") if isinstance(body, dict) else None
    return str(said or response.reason_phrase or "no reason given")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def pages(client: Client, path: str, params: Mapping[str, str | int], properties: str = "") -> Iterator[dict[str, Any]]:
    """Every entry of a list that comes in pages.

    The end is what the server says about a next page, not a count: counts may be cut off (spec/rest.md 7.3).
    """
    index = 0
    while True:
        page = client.get(path, {**params, "currentPageIndex": index}, properties)
        yield from page["entries"]
        if not page["entries"] or not page.get("isNextPageAvailable"):
            return
        index += 1
