"""`python -m services.lifecycle`."""

from libs.service import run
from services.lifecycle.app import build
from services.lifecycle.config import LifecycleConfig

run("lifecycle", LifecycleConfig, build)
