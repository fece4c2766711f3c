"""What each role may, as the issue of it to a person says."""

import pytest

from luthier.accounts.roles import EVERYWHERE, PERMISSIONS, ROLES, Caller, allows

READS = {permission for permission in PERMISSIONS if permission.endswith(".read")}


def granted(role: str, everywhere: bool = False) -> set[str]:
    return {permission for permission in PERMISSIONS if allows(Caller("default", "key_1", role, everywhere), permission)}


def test_an_auditor_reads_all_records_verifies_and_changes_nothing():
    assert granted("auditor", everywhere=True) == READS | {"runs.verify"}
    assert granted("auditor") == (READS | {"runs.verify"}) - EVERYWHERE


@pytest.mark.parametrize(
    "role, may",
    [
        ("inference", {"inference.use", "models.read"}),
        ("rater", {"feedback.read", "feedback.write"}),
        ("stranger", set()),
    ],
)
def test_narrow_roles_may_what_they_are_for(role: str, may: set[str]):
    assert granted(role) == may


def test_an_admin_may_all_in_its_project_and_only_one_for_every_project_what_concerns_all():
    assert granted("admin") == PERMISSIONS.keys() - EVERYWHERE
    assert granted("admin", everywhere=True) == set(PERMISSIONS)


def test_a_member_works_and_neither_makes_keys_nor_reads_what_others_did():
    assert PERMISSIONS.keys() - granted("member") == {
        "keys.read",
        "keys.write",
        "audit.read",
        "projects.write",
        "sharing.read",
        "sharing.write",
        "metrics.read",
        "logs.read",
    }


def test_every_role_is_explained():
    assert {role for roles in PERMISSIONS.values() for role in roles} == ROLES.keys()
