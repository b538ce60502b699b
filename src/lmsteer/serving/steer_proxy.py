"""An HTTP server in front of that of llama.cpp: it reads strengths by name, and passes on everything else."""

from collections.abc import AsyncIterator, Iterable, Mapping
from http import HTTPStatus
from socket import socket

from aiohttp import ClientConnectionError, ClientSession, ClientTimeout, TCPConnector, web

from lmsteer.errors import InputError
from lmsteer.serving.request_strengths import RequestStrengths

STEERS_ROUTE = "/v1/steers"
"""Route that lists dimensions with their meanings and default strengths."""
ADAPTERS_ROUTE = "/lora-adapters"
"""Route of llama.cpp that sets the default scales of all requests."""
BODY_BYTES = 64 << 20
OF_A_CONNECTION = frozenset(
    ("connection", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
"""Headers that concern one connection and are not passed on (RFC 9110, section 7.6.1)."""
OF_A_BODY = frozenset(("content-encoding", "content-length"))
"""Headers of a request's body, which is read and may change."""
CROSS_ORIGIN = "access-control-"
"""Headers by which llama.cpp lets any page of the browser use the server."""
GRACE_SECONDS = 1.0


class SteerProxy:
    """Answer the requests of users with llama.cpp.

    Args:
        address: Address of the server of llama.cpp.
        meanings: Meaning of positive strength, by dimension.
    """

    def __init__(self, address: str, strengths: RequestStrengths, meanings: Mapping[str, str]) -> None:
        self._address, self._strengths, self._meanings = address, strengths, meanings
        self._session: ClientSession

    def run(self, listener: socket) -> None:
        """Answer requests until the process is interrupted (SIGINT) or terminated (SIGTERM)."""
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_get(STEERS_ROUTE, self._steers)
        app.router.add_post(ADAPTERS_ROUTE, self._refuse_defaults)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        app.cleanup_ctx.append(self._connected)
        web.run_app(
            app,
            sock=listener,
            print=None,
            access_log=None,
            handler_cancellation=True,  # a client that goes away ends its generation
            shutdown_timeout=GRACE_SECONDS,
        )

    async def _connected(self, _: web.Application) -> AsyncIterator[None]:
        # A connection for each request: one that llama.cpp closes as it is used again would lose the request.
        connector = TCPConnector(limit=0, force_close=True)
        timeout = ClientTimeout(total=None)
        async with ClientSession(connector=connector, auto_decompress=False, timeout=timeout) as self._session:
            yield

    async def _steers(self, _: web.Request) -> web.Response:
        entries = [
            {"name": name, "meaning": self._meanings.get(name, ""), "strength": strength}
            for name, strength in self._strengths.defaults.items()
        ]
        return web.json_response({"steers": entries})

    async def _refuse_defaults(self, _: web.Request) -> web.Response:
        return refusal(HTTPStatus.FORBIDDEN, "default strengths are set where the server is started, strength=…")

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            if request.method == "POST":
                body = self._strengths.translate(request.path, body)
        except InputError as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))
        headers = passed_on(request.headers.items(), OF_A_CONNECTION | OF_A_BODY)
        url = f"{self._address}{request.path_qs}"
        try:
            answer = await self._session.request(
                request.method, url, data=body or None, headers=headers, allow_redirects=False
            )
        except ClientConnectionError as error:
            return refusal(HTTPStatus.BAD_GATEWAY, f"llama.cpp does not answer ({error})")
        async with answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in passed_on(answer.headers.items(), OF_A_CONNECTION):
                if not name.lower().startswith(CROSS_ORIGIN):
                    response.headers.add(name, value)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        return response


def passed_on(headers: Iterable[tuple[str, str]], left_out: frozenset[str]) -> list[tuple[str, str]]:
    """Return headers without some of them, whose names are in lower case."""
    return [(name, value) for name, value in headers if name.lower() not in left_out]


def refusal(status: HTTPStatus, message: str) -> web.Response:
    """Return an error in the form of OpenAI's and llama.cpp's routes."""
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return web.json_response({"error": {"code": int(status), "message": message, "type": kind}}, status=status)
