"""`schema.json` and the reference page say what the sources say."""

import pytest

from luthier.spec import folder, reference, schema
from luthier.spec.run import RunSpec
from luthier.spec.settings import table


def test_schema_json_is_fresh() -> None:
    assert schema.SCHEMA_FILE.read_text(encoding="utf-8") == schema.text(), "run `make schema`"


def test_the_reference_page_is_fresh() -> None:
    assert reference.REFERENCE_FILE.read_text(encoding="utf-8") == reference.text(schema.build()), "run `make schema`"


def test_every_component_of_every_room_is_in_the_schema() -> None:
    built = schema.build()
    for package in schema.ROOMS.values():
        assert list(built[package.rsplit(".", 1)[-1]]) == folder.names(package)


def test_every_setting_of_a_run_is_documented() -> None:
    assert [key for key, setting in table(RunSpec.model_json_schema()).items() if not setting.help] == []


@pytest.mark.parametrize("where", schema.ROOMS)
def test_every_component_and_each_of_its_settings_is_documented(where: str) -> None:
    room = schema.ROOMS[where]
    for name, component in schema.build()[room.rsplit(".", 1)[-1]].items():
        assert component["summary"], f"{room}.{name} has no first line"
        settings = table(component["settings"]) if "settings" in component else {}
        assert [key for key, setting in settings.items() if not setting.help] == [], f"undocumented settings of {room}.{name}"


def test_the_page_lists_every_setting() -> None:
    page = reference.text(schema.build())
    for key in table(RunSpec.model_json_schema()):
        assert f"`{key}`" in page


def test_settings_of_a_component_are_known_by_dotted_key() -> None:
    assert component_keys("adapter", "lora") >= {"adapter.rank", "adapter.alpha"}
    assert component_keys("adapter", "./mine.py") == set()
    assert component_keys("model", "starter") == set()


def component_keys(where: str, name: str) -> set[str]:
    return set(schema.component_settings(where, name))
