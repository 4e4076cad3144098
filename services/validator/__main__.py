"""`python -m services.validator`."""

from libs.service import run
from services.validator.app import build
from services.validator.config import ValidatorConfig

run("validator", ValidatorConfig, build)
