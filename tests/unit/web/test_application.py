"""What a client sees of an application: answers, errors, headers."""

import io
import json
import logging
import re
from typing import Annotated, Any

import msgspec
import pytest
from aiohttp import web
from yarl import URL

from libs import errors, telemetry
from libs.blobs import MultipartGone
from libs.errors import SlipwayError
from libs.web import Request, Response, Route
from libs.web.app import MAX_JSON_BYTES
from libs.web.errors import Fault
from tests.unit.web.conftest import MEMBERS, Serving, port_of


class Greeting(msgspec.Struct):
    name: str
    times: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1


async def greet(request: Request[None]) -> Greeting:
    greeting: Greeting = request.body
    return greeting


async def show(request: Request[None]) -> Response:
    return Response(
        {"params": request.params, "project": request.principal.project_id, "wait_s": request.prefer_wait_s()}
    )


def raising(error: BaseException) -> Route[None]:
    async def handler(_: Request[None]) -> Response:
        raise error

    return Route("GET", "fails", handler, summary="Fails.", access=MEMBERS)


GREET = Route("POST", "greet", greet, summary="Greet.", body=Greeting, returns=Greeting, status=201, access=MEMBERS)
SHOW = Route("GET", "show/{path:path}", show, summary="Show.", access=MEMBERS)


class Plain(msgspec.Struct):
    """Errors of another kind of API."""

    status: int
    message: str


class PlainErrors:
    schema = Plain

    def body(self, fault: Fault) -> Plain:
        return Plain(fault.status, fault.message)


async def test_errors_have_the_shape_that_the_routes_beside_them_say(serving: Serving) -> None:
    """Whatever goes wrong there, also where no route is; and everything keeps its status and its id."""

    async def fail(request: Request[None]) -> Response:
        raise errors.Conflict("Taken.") if request.body.times == 1 else ZeroDivisionError

    plain = Route(
        "POST", "plain/{x}/things", fail, summary="Fail.", body=Greeting, access=MEMBERS, errors=PlainErrors()
    )
    client = await serving(plain, GREET)
    tried = [
        ("POST", "/v1/plain/x/things", {"json": {"name": "you"}}, 409),
        ("POST", "/proj_MINE/v1/plain/x/things", {"json": {"name": "you"}}, 409),
        ("POST", "/v1/plain/x/things", {"json": {"name": "you", "times": 2}}, 500),
        ("POST", "/v1/plain/x/things", {"json": {"name": 3}}, 400),
        ("POST", "/v1/plain/x/things", {"headers": {"Authorization": "Bearer wrong"}}, 401),
        ("POST", "/proj_OTHER/v1/plain/x/things", {"json": {"name": "you"}}, 404),
        ("PATCH", "/v1/plain/x/things", {}, 405),
        ("GET", "/v1/plain/x/nothing", {}, 404),
        ("GET", "/v1/plain", {}, 404),
        ("POST", "/v1/plain/%00/things", {}, 400),
    ]
    for method, path, request, status in tried:
        async with client.request(method, path, **request) as answer:  # type: ignore[arg-type]
            body = await answer.json()
            assert (answer.status, body["status"]) == (status, status), path
            assert set(body) == {"status", "message"}
            assert answer.headers["x-request-id"]
    for path in ("/v1/greet", "/v1/plainer/x", "/v1/nothing/plain/x"):
        async with client.get(path) as answer:
            assert set((await answer.json())["error"]) == {"message", "type", "param", "code"}


async def test_a_body_is_decoded_and_the_answer_encoded(serving: Serving) -> None:
    client = await serving(GREET)
    async with client.post("/v1/greet", json={"name": "you"}) as answer:
        assert answer.status == 201
        assert answer.content_type == "application/json"
        assert await answer.json() == {"name": "you", "times": 1}


async def test_both_bases_serve_a_project_and_only_its_own(serving: Serving) -> None:
    client = await serving(SHOW)
    for base, status in (("/v1", 200), ("/proj_MINE/v1", 200), ("/proj_OTHER/v1", 404), ("/proj_NONE/v1", 404)):
        async with client.get(f"{base}/show/x") as answer:
            assert answer.status == status


async def test_a_path_is_decoded_once_on_its_way_through_the_server(serving: Serving) -> None:
    client = await serving(SHOW)
    url = URL(f"http://127.0.0.1:{port_of(client)}/v1/show/a%20b/100%25/%E6%A8%A1/..%2F", encoded=True)
    async with client.get(url) as answer:
        assert (await answer.json())["params"]["path"] == "a b/100%/模/../"


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [("wait=5", 5.0), ("respond-async, wait=10", 10.0), ("Wait = 0", 0.0), ("wait=x", None), ("await=5", None)],
)
async def test_prefer_says_how_long_to_wait(serving: Serving, prefer: str, wait_s: float | None) -> None:
    client = await serving(SHOW)
    async with client.get("/v1/show/x", headers={"Prefer": prefer}) as answer:
        assert (await answer.json())["wait_s"] == wait_s


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic eDp5", "a-token", "Bearer \xff"]
)
async def test_every_bad_key_gets_the_same_answer(serving: Serving, value: str | None) -> None:
    client = await serving(SHOW)
    del client.headers["Authorization"]
    async with client.get("/v1/show/x", headers={"Authorization": value} if value is not None else {}) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert await answer.json() == {
            "error": {
                "message": errors.Unauthenticated().message,
                "type": "authentication_error",
                "param": None,
                "code": "authentication_error",
            }
        }


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (errors.Invalid("m", param="p"), 400, "invalid_request_error", "invalid_request"),
        (errors.ChecksumMismatch(), 400, "invalid_request_error", "checksum_mismatch"),
        (errors.Forbidden(), 403, "permission_error", "permission_denied"),
        (errors.ScopeRequired(), 403, "permission_error", "scope_required"),
        (errors.NotFound(), 404, "not_found_error", "not_found"),
        (errors.ModelNotFound(), 404, "not_found_error", "model_not_found"),
        (errors.Conflict(), 409, "conflict_error", "conflict"),
        (errors.PartConflict(), 409, "conflict_error", "part_conflict"),
        (errors.TooLarge(), 413, "invalid_request_error", "request_too_large"),
        (errors.UnsupportedMedia(), 415, "invalid_request_error", "unsupported_media_type"),
        (errors.ArchiveRejected(), 422, "invalid_request_error", "archive_rejected"),
        (errors.RateLimited(retry_after_s=7), 429, "rate_limit_error", "rate_limit_exceeded"),
        (errors.TooSlow(), 408, "invalid_request_error", "body_too_slow"),
        (errors.Unavailable(), 503, "unavailable_error", "unavailable"),
        (errors.Overloaded("Two at a time."), 503, "unavailable_error", "overloaded"),
        (errors.SlipwayError(), 500, "server_error", "internal_error"),
    ],
)
async def test_each_error_has_its_status_and_the_whole_envelope(
    serving: Serving, error: SlipwayError, status: int, kind: str, code: str
) -> None:
    client = await serving(raising(error))
    async with client.get("/v1/fails") as answer:
        assert answer.status == status
        body = {"message": error.message, "type": kind, "param": error.param, "code": code}
        assert await answer.json() == {"error": body}
        retry_after = answer.headers.get("Retry-After")
        assert retry_after == (str(error.retry_after_s) if error.retry_after_s is not None else None)


async def test_details_stand_beside_the_four_fields_and_never_replace_them(serving: Serving) -> None:
    client = await serving(raising(errors.Conflict("m", details={"missing": [1], "code": "x"}, retryable=False)))
    async with client.get("/v1/fails") as answer:
        error = (await answer.json())["error"]
        assert (error["missing"], error["code"]) == ([1], "conflict")
        assert answer.headers["x-should-retry"] == "false"


async def test_aiohttps_own_errors_come_in_the_envelope_with_their_headers(serving: Serving) -> None:
    unsatisfiable = web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": "bytes */5"})
    client = await serving(raising(unsatisfiable))
    async with client.get("/v1/fails") as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */5")
        assert (await answer.json())["error"]["code"] == "requested_range_not_satisfiable"


async def test_which_dependency_is_down_is_logged_and_not_told(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    client = await serving(raising(errors.Unavailable("Connect call failed ('10.0.0.7', 5432)")))
    async with client.get("/v1/fails") as answer:
        assert (await answer.json())["error"]["message"] == errors.Unavailable().message
    assert "10.0.0.7" in caplog.text


@pytest.mark.parametrize("error", [MultipartGone("no upload of proj_A/key"), errors.ObjectNotFound("no proj_A/key")])
async def test_keys_of_storage_are_not_told(serving: Serving, error: SlipwayError) -> None:
    """Nor by the kinds of an error that a library names more narrowly."""
    client = await serving(raising(error))
    async with client.get("/v1/fails") as answer:
        assert "proj_A" not in await answer.text()


async def test_an_unforeseen_error_is_logged_in_full_and_tells_the_client_nothing(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    client = await serving(raising(RuntimeError("the password is hunter2")))
    async with client.get("/v1/fails") as answer:
        assert answer.status == 500
        assert "hunter2" not in await answer.text()
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])


async def test_unknown_paths_and_wrong_methods_come_in_the_envelope(serving: Serving) -> None:
    client = await serving(GREET)
    async with client.get("/v1/nowhere") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "not_found")
    for method in ("GET", "OPTIONS", "DELETE"):
        async with client.request(method, "/v1/greet") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (405, "method_not_allowed")
            assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_json_body_has_a_limit(serving: Serving, chunked: bool) -> None:
    client = await serving(GREET)
    body = b'{"name": "' + b"x" * MAX_JSON_BYTES + b'"}'

    async def pieces() -> Any:
        yield body

    async with client.post("/v1/greet", data=pieces() if chunked else io.BytesIO(body)) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (413, "request_too_large")


async def test_a_compressed_json_body_is_refused_rather_than_misread(serving: Serving) -> None:
    client = await serving(GREET)
    async with client.post("/v1/greet", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2:3_4", True), ("a b", False), ("x" * 129, False), (None, False)])
async def test_every_answer_has_a_request_id(serving: Serving, given: str | None, kept: bool) -> None:
    client = await serving(SHOW, raising(ValueError("x")))
    for path in ("/v1/show/x", "/v1/fails", "/nowhere"):
        async with client.get(path, headers={"x-request-id": given} if given else {}) as answer:
            told = answer.headers["x-request-id"]
            assert told == given if kept else re.fullmatch(r"req_[0-9a-f]{32}", told)


async def test_a_handler_works_in_the_clients_trace(serving: Serving) -> None:
    seen: list[telemetry.Context] = []

    async def handler(request: Request[None]) -> Response:
        seen.append(telemetry.current())
        return Response(None, 204)

    client = await serving(Route("GET", "x", handler, summary="X.", access=MEMBERS))
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "x-request-id": "mine"}
    async with client.get("/v1/x", headers=headers) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    [context] = seen
    assert (context.request_id, context.trace_id) == ("mine", trace_id)
    assert "00f067aa0ba902b7" not in str(context.traceparent)  # a span of our own


async def test_one_access_line_and_one_count_a_request_by_template(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="access")
    client = await serving(SHOW)
    labels = ("/v1/show/{path:path}", "GET", "200")
    before = telemetry.http_requests.labels(*labels)._value.get()
    async with client.get("/v1/show/secret/name?token=abc") as answer:
        size_bytes = len(await answer.read())
    assert telemetry.http_requests.labels(*labels)._value.get() == before + 1
    [record] = [record for record in caplog.records if record.name == "access"]
    fields = vars(record)
    assert (fields["route"], fields["status"], fields["key_id"]) == ("/v1/show/{path:path}", 200, "key_1")
    assert fields["bytes_out"] == size_bytes
    assert "token" not in record.getMessage()


async def test_public_routes_need_no_key(serving: Serving) -> None:
    client = await serving(SHOW)
    del client.headers["Authorization"]
    async with client.get("/openapi.json") as answer:
        assert answer.status == 200
        assert json.loads(await answer.read())["openapi"] == "3.1.0"


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"Host": "slipway.example:8080"}, "http://slipway.example:8080"),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "models.example, proxy"}, "https://models.example"),
        ({"Host": "a/b"}, None),
        ({"X-Forwarded-Host": "evil.example/x?"}, None),
        ({"X-Forwarded-Proto": "javascript"}, None),
    ],
)
async def test_urls_are_made_from_what_the_client_calls_us(
    serving: Serving, headers: dict[str, str], origin: str | None
) -> None:
    async def handler(request: Request[None]) -> Response:
        return Response({"origin": request.origin()})

    client = await serving(Route("GET", "x", handler, summary="X.", access=MEMBERS))
    async with client.get("/v1/x", headers=headers) as answer:
        assert answer.status == (200 if origin else 400)
        if origin:
            assert await answer.json() == {"origin": origin}
