"""Recipes: the model families that this platform knows."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

from genplatform.api.deps import Ref, Wired
from genplatform.api.shapes import Recipe, Recipes, shape

router = APIRouter(prefix="/recipes", tags=["recipes"])


@router.get("", responses=shape(Recipes))
def list_recipes(w: Wired) -> JSONResponse:
    """List recipes."""
    return JSONResponse(w.recipes.ls())


@router.get("/{ref}", responses=shape(Recipe))
def show_recipe(w: Wired, ref: Ref) -> JSONResponse:
    """Show a recipe and the JSON Schema of its parameters."""
    return JSONResponse(w.recipes.show(ref))
