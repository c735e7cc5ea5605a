"""Models and endpoints in the record."""

from __future__ import annotations

import pytest
from records import NOW, a_version, an_endpoint

from genplatform import errors
from genplatform.domain.names import ModelRef
from genplatform.domain.states import EndpointState


def test_publishing_numbers_the_versions_of_a_name_from_one(catalog):
    with catalog.write() as tx:
        numbers = [tx.models.publish("default", "digits", a_version())[1] for _ in range(3)]
        theirs = tx.models.publish("theirs", "digits", a_version())[1]
        other = tx.models.publish("default", "faces", a_version())[1]

        assert (numbers, theirs, other) == ([1, 2, 3], 1, 1)
        assert tx.models.names("default") == ["digits", "faces", "noise"]
        assert tx.models.names("theirs") == ["digits"]


def test_a_version_comes_back_as_it_was_published_with_its_parent(catalog):
    with catalog.write() as tx:
        parent, _ = tx.models.publish("default", "base", a_version())
        child, _ = tx.models.publish("default", "tuned", a_version(parent_pk=parent, size=2**40, metrics={"fid": 2.5}))

        row = tx.models.get(child)
        assert (row.ref, row.parent, row.size, row.metrics) == ("tuned@1", "base@1", 2**40, {"fid": 2.5})
        assert tx.models.get(parent).parent is None


def test_a_reference_means_a_number_or_the_newest_and_an_unknown_one_nothing(catalog):
    with catalog.write() as tx:
        for _ in range(11):
            tx.models.publish("default", "digits", a_version())

        def found(ref: ModelRef, tenant: str = "default") -> str | None:
            row = tx.models.find(tenant, ref)
            return None if row is None else row.ref

        assert found(ModelRef("digits")) == found(ModelRef("digits", alias="latest")) == "digits@11"
        assert found(ModelRef("digits", version=9)) == "digits@9"
        assert found(ModelRef("digits", version=12)) is None
        assert found(ModelRef("digits", version=999_999_999)) is None
        assert found(ModelRef("digits", alias="best")) is None
        assert found(ModelRef("digit")) is None
        assert found(ModelRef("digits"), tenant="theirs") is None


def test_every_version_is_listed_by_name_newest_first_and_knows_whether_it_is_the_newest(catalog):
    with catalog.write() as tx:
        for name in ("faces", "digits", "digits"):
            tx.models.publish("default", name, a_version())
        tx.models.publish("theirs", "digits", a_version())

        listed = [(m.ref, m.newest) for m in tx.models.all("default")]

    assert listed == [("digits@2", True), ("digits@1", False), ("faces@1", True), ("noise@1", True)]


def test_another_wish_wins_over_what_is_reported_of_the_one_before(catalog):
    with catalog.write() as tx:
        endpoint_pk = an_endpoint(tx)
        assert tx.endpoints.update(endpoint_pk, generation=1, state="ready", ready=1, url="http://h", confirmed_at=NOW)
        tx.endpoints.wish_again(tx.endpoints.find("default", "digits"), {"max_replicas": 5, "state": "pending"})
        assert tx.endpoints.update(endpoint_pk, generation=1, state="ready") is False
        row = tx.endpoints.find("default", "digits", lock=True)

        assert (row.endpoint_state, row.generation, row.max_replicas) == (EndpointState.PENDING, 2, 5)
        assert (row.ready, row.url, row.confirmed_at) == (1, "http://h", NOW)
        assert tx.endpoints.delete(endpoint_pk, generation=1) is False
        assert tx.endpoints.delete(endpoint_pk, generation=2) is True
        assert tx.endpoints.find("default", "digits") is None


def test_a_second_endpoint_of_a_name_is_a_conflict(catalog):
    with catalog.write() as tx:
        an_endpoint(tx)
        with pytest.raises(errors.Conflict, match="digits"):
            an_endpoint(tx)


def test_endpoints_are_listed_by_name_for_a_tenant_or_for_all(catalog):
    with catalog.write() as tx:
        an_endpoint(tx, "b")
        an_endpoint(tx, "a")
        an_endpoint(tx, "c", tenant_id="theirs")

        assert [e.name for e in tx.endpoints.all("default")] == ["a", "b"]
        assert [e.name for e in tx.endpoints.all()] == ["a", "b", "c"]
        assert tx.endpoints.find("theirs", "a") is None


@pytest.mark.parametrize("names", [["B", "a", "C", "_", "0"]])
def test_names_sort_the_same_on_both_databases(catalog, names):
    with catalog.write() as tx:
        for name in names:
            tx.models.publish("theirs", name, a_version())

        assert tx.models.names("theirs") == sorted(names)
