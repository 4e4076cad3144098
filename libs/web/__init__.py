"""A route table -> authorization, decoding, encoding, errors, metrics and OpenAPI; over aiohttp."""

from libs.web.access import PUBLIC, Access, Admission, Principal, SecurityScheme
from libs.web.app import make_app
from libs.web.body import Body, BodyLimits, Pace
from libs.web.errors import ErrorShape, Fault
from libs.web.health import Readiness, health_routes
from libs.web.request import Request
from libs.web.response import Response
from libs.web.route import Admit, Authenticate, Handler, Route
from libs.web.server import serve

__all__ = [
    "PUBLIC",
    "Access",
    "Admission",
    "Admit",
    "Authenticate",
    "Body",
    "BodyLimits",
    "ErrorShape",
    "Fault",
    "Handler",
    "Pace",
    "Principal",
    "Readiness",
    "Request",
    "Response",
    "Route",
    "SecurityScheme",
    "health_routes",
    "make_app",
    "serve",
]
