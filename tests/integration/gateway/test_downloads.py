"""Files of models, sent to clients."""

from __future__ import annotations

import hashlib

from tests.integration.gateway.uploading import FILES, Uploads


async def test_downloads_give_back_the_bytes_whole_and_by_range(uploads: Uploads):
    done = await uploads.upload_directory(FILES)
    path = f"/v1/models/{done['model_id']}/files/model.safetensors"
    weights = FILES["model.safetensors"]
    async with uploads.client.get(path) as response:
        assert await response.read() == weights
        assert response.headers["ETag"] == f'"{hashlib.sha256(weights).hexdigest()}"'
    async with uploads.client.get(path, headers={"Range": "bytes=3-9"}) as response:
        assert response.status == 206
        assert await response.read() == weights[3:10]
        assert response.headers["Content-Range"] == f"bytes 3-9/{len(weights)}"
    async with uploads.client.get(path, headers={"Range": "bytes=9999-"}) as response:
        assert response.status == 416
