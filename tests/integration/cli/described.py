"""What the fake server says of its uploads and models."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.cli.server import Upload


def archive_state(upload: Upload) -> dict[str, Any]:
    missing = [[n, n] for n in range(upload.total_chunks) if ("", n) not in upload.stored]
    return {
        **_common(upload),
        "archive_format": upload.wanted["archive_format"],
        "archive_size": upload.wanted["archive_size"],
        "chunk_size": upload.chunk_size,
        "total_chunks": upload.total_chunks,
        "uploaded_chunks": len(upload.stored),
        "progress": 100 * len(upload.stored) / upload.total_chunks,
        "missing": missing,
        "parts": [
            {"part_number": number, "size": len(content), "checksum": hashlib.sha256(content).hexdigest()}
            for (_, number), content in sorted(upload.stored.items())
        ],
    }


def directory_state(upload: Upload) -> dict[str, Any]:
    files = [_file_state(upload, file) for file in upload.wanted["files"]]
    arrived = sum(file["status"] in ("received", "present") for file in files)
    return {
        **_common(upload),
        "expected_file_count": len(files),
        "uploaded_file_count": arrived,
        "progress": 100 * arrived / len(files),
        "files": files,
    }


def _file_state(upload: Upload, file: dict[str, Any]) -> dict[str, Any]:
    path = file["relative_path"]
    about = {"relative_path": path, "size": file["size"], "sha256": file.get("sha256")}
    if path in upload.present:
        return {**about, "status": "present"}
    if path not in upload.counts:
        return {**about, "status": "partial" if upload.held.get(path) else "missing"}
    return {**about, "sha256": hashlib.sha256(upload.stored[(path, 0)]).hexdigest(), "status": "received"}


def _common(upload: Upload) -> dict[str, Any]:
    return {
        "session_id": upload.id,
        "kind": upload.kind,
        "model_id": f"m-{upload.id}",
        "model_name": upload.name,
        "version": "1.0.0",
        "status": upload.status,
        "created_at": "2026-01-15T10:30:00Z",
        "expires_at": "2030-01-01T00:00:00Z",
        "extraction": {"members": 0, "bytes": 0, "parts_done": 0},
        "error": None,
        "waiting_for": upload.waiting_for,
    }


def model_document(upload: Upload, findings: list[dict[str, Any]]) -> dict[str, Any]:
    """GET models/{id}?extended=true."""
    failed = any(finding["severity"] == "error" for finding in findings)
    return {
        "id": f"m-{upload.id}",
        "object": "model",
        "created": 1706123456,
        "owned_by": "test",
        "name": upload.name,
        "status": "error" if failed else "ready",
        "status_reason": findings[0]["message"] if failed else None,
        "version": "1.0.0",
        "is_latest": True,
        "format": "safetensors",
        "size_bytes": 90_000_000,
        "file_count": 3,
        "architecture": "BertModel",
        "parameter_count": 22_713_728,
        "context_length": 512,
        "dtype": "F32",
        "quantization": "native",
        "hidden_size": 384,
        "num_layers": 6,
        "vocab_size": 30522,
        "workload_type": "embedding",
        "memory": {"weights_bytes": 90_000_000, "kv_bytes_per_token": None, "smallest_gpu": "T4 16 GB"},
        "deployable": True,
        "deployable_reason": None,
    }
