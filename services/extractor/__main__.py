"""`python -m services.extractor`"""

from libs.service import run
from services.extractor.app import build
from services.extractor.config import ExtractorConfig

if __name__ == "__main__":
    run("extractor", ExtractorConfig, build)
