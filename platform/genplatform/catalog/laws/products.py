"""Laws of what jobs made: artifacts under names of their own, models published once and numbered without a gap."""

from __future__ import annotations

import sqlalchemy as sa

from genplatform.catalog.laws.law import JOB, Law, differ, is_generate, publishes_model, text, words
from genplatform.catalog.tables import artifacts, endpoints, evaluations, jobs, model_versions, models
from genplatform.domain import layout
from genplatform.domain.states import EndpointState, JobState

_of_jobs = jobs.join(artifacts, artifacts.c.job_pk == jobs.c.id)
_is_manifest = artifacts.c.kind == "manifest"
_owner = jobs.c.tenant_id + "/" + jobs.c.job_id
_folder = "jobs/" + _owner + "/"
_manifest = "outputs/" + _owner + f"/{layout.MANIFEST}"
_manifests = (
    sa.select(artifacts.c.job_pk, sa.func.count().label("found"))
    .where(_is_manifest)
    .group_by(artifacts.c.job_pk)
    .subquery("manifests")
)
_found = sa.func.coalesce(_manifests.c.found, 0)

_versions = model_versions
VERSION = (models.c.tenant_id + "/" + models.c.name + "@" + text(_versions.c.version)).label("about")
_of_models = models.join(_versions, _versions.c.model_pk == models.c.id)
_numbers = (
    sa.select(
        _versions.c.model_pk,
        sa.func.count().label("found"),
        sa.func.min(_versions.c.version).label("first"),
        sa.func.max(_versions.c.version).label("last"),
    )
    .group_by(_versions.c.model_pk)
    .subquery("numbers")
)
_of_one_job = (
    sa.select(_versions.c.tenant_id, _versions.c.job_id, sa.func.count().label("found"))
    .where(_versions.c.job_id.is_not(None))
    .group_by(_versions.c.tenant_id, _versions.c.job_id)
    .having(sa.func.count() > 1)
    .subquery("of_one_job")
)

LAWS = (
    Law(
        "artifact_run",
        "Its {kind} {key} is of run {of_run}, and it had {run} runs.",
        sa.select(JOB, artifacts.c.kind, artifacts.c.key, artifacts.c.run.label("of_run"), jobs.c.run)
        .select_from(_of_jobs)
        .where(sa.or_(artifacts.c.run < 1, artifacts.c.run > jobs.c.run)),
    ),
    Law(
        "artifact_key",
        "Its {kind} lies under the name of another: {key}.",
        sa.select(JOB, artifacts.c.kind, artifacts.c.key)
        .select_from(_of_jobs)
        .where(
            sa.or_(
                sa.and_(_is_manifest, artifacts.c.key != _manifest),
                sa.and_(sa.not_(_is_manifest), sa.func.substr(artifacts.c.key, 1, sa.func.length(_folder)) != _folder),
            )
        ),
    ),
    Law(
        "manifest_once",
        "It is {state} and has {found} manifests.",
        sa.select(JOB, jobs.c.state, _found.label("found"))
        .outerjoin(_manifests, _manifests.c.job_pk == jobs.c.id)
        .where(
            sa.or_(
                differ(sa.and_(is_generate, jobs.c.state == JobState.SUCCEEDED.value), _found > 0),
                _found > 1,
            )
        ),
    ),
    Law(
        "model_numbers",
        "It has {found} versions, numbered {first} to {last}.",
        sa.select(
            (models.c.tenant_id + "/" + models.c.name).label("about"),
            _numbers.c.found,
            _numbers.c.first,
            _numbers.c.last,
        )
        .join(_numbers, _numbers.c.model_pk == models.c.id)
        .where(sa.or_(_numbers.c.first != 1, _numbers.c.last != _numbers.c.found)),
    ),
    Law(
        "model_once",
        "It published {found} model versions.",
        sa.select((_of_one_job.c.tenant_id + "/" + _of_one_job.c.job_id).label("about"), _of_one_job.c.found),
    ),
    Law(
        "model_job",
        "It was published by {job_id}, a {kind} job that {state} and does not say so.",
        sa.select(VERSION, jobs.c.job_id, jobs.c.kind, jobs.c.state)
        .select_from(
            _of_models.join(
                jobs, sa.and_(jobs.c.tenant_id == _versions.c.tenant_id, jobs.c.job_id == _versions.c.job_id)
            )
        )
        .where(
            sa.or_(
                sa.not_(publishes_model),
                jobs.c.state != JobState.SUCCEEDED.value,
                sa.func.coalesce(jobs.c.model_version_id, 0) != _versions.c.id,
            )
        ),
    ),
    Law(
        "job_published",
        "It names a model as its own that {of} published.",
        sa.select(JOB, sa.func.coalesce(_versions.c.job_id, "no job").label("of"))
        .join(_versions, _versions.c.id == jobs.c.model_version_id)
        .where(
            publishes_model,
            # What a compress job names before its end is the version that it compresses.
            jobs.c.state == JobState.SUCCEEDED.value,
            sa.func.coalesce(_versions.c.job_id, "") != jobs.c.job_id,
        ),
    ),
    Law(
        "model_key",
        "It lies under another name than its digest's: {key}.",
        sa.select(VERSION, _versions.c.key)
        .select_from(_of_models)
        .where(_versions.c.key != "models/" + _versions.c.tenant_id + "/" + _versions.c.digest),
    ),
    Law(
        "model_tenant",
        "It is a version of a model of {tenant_id}, and itself of {other}.",
        sa.select(VERSION, _versions.c.tenant_id.label("other"), models.c.tenant_id)
        .select_from(_of_models)
        .where(_versions.c.tenant_id != models.c.tenant_id),
    ),
    Law(
        "evaluation_tenant",
        "It is a version of {tenant_id}, and what was found of it is of {other}.",
        sa.select(VERSION, evaluations.c.tenant_id.label("other"), models.c.tenant_id)
        .select_from(_of_models.join(evaluations, evaluations.c.model_version_id == _versions.c.id))
        .where(evaluations.c.tenant_id != models.c.tenant_id),
    ),
    Law(
        "endpoint_state",
        "Its state {state!r} is none that endpoints have, or its replicas {min_replicas} to {max_replicas} cannot be.",
        sa.select(
            (endpoints.c.tenant_id + "/" + endpoints.c.name).label("about"),
            endpoints.c.state,
            endpoints.c.min_replicas,
            endpoints.c.max_replicas,
        ).where(
            sa.or_(
                endpoints.c.state.not_in(words(EndpointState)),
                endpoints.c.min_replicas < 0,
                endpoints.c.max_replicas < endpoints.c.min_replicas,
            )
        ),
    ),
)
