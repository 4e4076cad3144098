"""The operator's route that deletes a project."""

from __future__ import annotations

from libs.db import transaction
from libs.errors import Invalid
from libs.web import Request, Route
from services.gateway.deletions import schemas, store
from services.gateway.dependencies import Dependencies
from services.gateway.projects import responses
from services.gateway.projects import schemas as project_schemas
from services.gateway.projects import store as projects
from services.gateway.projects.access import OPERATOR


async def delete_project(request: Request[Dependencies]) -> project_schemas.Project:
    """Delete a project with everything of it. Its keys stop working at once, the rest goes by and by.

    Raises: NotFound; Invalid, if `confirm` is not the project's name.
    """
    project_id, body = request.params["id"], request.body
    async with transaction(request.dependencies.pool) as tx:
        project = await projects.get_project(tx, project_id)
        if body.confirm != project.name:
            raise Invalid(
                f"The project {project_id} is called '{project.name}', not '{body.confirm}'. Deleting it removes its "
                "models, files and keys for good; repeat its name in 'confirm' if that is what you want.",
                param="confirm",
            )
        await store.begin(tx, project_id)
        return responses.project(await projects.get_project(tx, project_id), await projects.left(tx, [project_id]))


ROUTES = [
    Route(
        "POST",
        "/admin/v1/projects/{id}/delete",
        delete_project,
        summary="Delete a project with everything of it",
        access=OPERATOR,
        base="root",
        body=schemas.DeleteProject,
        returns=project_schemas.Project,
        status=202,
    )
]
