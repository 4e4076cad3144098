"""`python -m services.extractor`."""

from libs.service import run
from services.extractor.app import build
from services.extractor.config import ExtractorConfig

run("extractor", ExtractorConfig, build)
