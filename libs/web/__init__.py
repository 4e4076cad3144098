"""A route table -> authorization, decoding, encoding, errors, metrics and OpenAPI; over aiohttp."""

from libs.web.app import make_app
from libs.web.body import Body, BodyLimits, Pace
from libs.web.health import Readiness, health_routes
from libs.web.route import Answer, Authenticate, Call, Handler, Principal, Role, Route, Scope
from libs.web.server import serve

__all__ = [
    "Answer",
    "Authenticate",
    "Body",
    "BodyLimits",
    "Call",
    "Handler",
    "Pace",
    "Principal",
    "Readiness",
    "Role",
    "Route",
    "Scope",
    "health_routes",
    "make_app",
    "serve",
]
