"""What the site is made of: every link of a page leads somewhere, each page has its place, and the reference has each public name."""

from __future__ import annotations

import importlib.util
import posixpath
import re
from types import ModuleType

import pytest
from documented import DOCS, name_of, pages

import disttrain as dt

ROOT = DOCS.parent
SETTINGS = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_of_the_docs", DOCS / "site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def texts(site: ModuleType) -> dict[str, str]:
    """Each page of the site, as mkdocs is given it."""
    own = {name_of(page): page.read_text(encoding="utf-8") for page in pages()}
    elsewhere = {page: site.moved(page, source, (ROOT / source).read_text(encoding="utf-8")) for page, source in site.ELSEWHERE.items()}
    return {**own, **elsewhere, **dict(site.reference())}


def anchors(text: str) -> set[str]:
    """Of the headings of a page."""
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", without_code, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_each_link_leads_to_a_page_and_a_heading_that_are_there(texts: dict[str, str]):
    wrong = []
    for page, text in texts.items():
        for target, anchor in re.findall(r"\[[^\]]*\]\(([^)#\s:]*)(#[^)\s]*)?\)", re.sub(r"`[^`\n]*`", "", text)):
            place = posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) if target else page
            if not (place in texts or (DOCS / place).is_file()) or (anchor and anchor[1:] not in anchors(texts[place])):
                wrong.append(f"{page}: {target}{anchor}")
    assert not wrong


def test_each_page_has_its_place_in_the_navigation(texts: dict[str, str]):
    assert sorted(re.findall(r"(?:- |: )([\w/.-]+\.md)$", SETTINGS, re.MULTILINE)) == sorted(texts)


def test_the_reference_has_every_layer_loss_metric_optimizer_and_callback(texts: dict[str, str]):
    for page, room in (
        ("layers", dt.layers),
        ("losses", dt.losses),
        ("metrics", dt.metrics),
        ("optimizers", dt.optimizers),
        ("callbacks", dt.callbacks),
    ):
        shown = set(re.findall(r"^::: (\S+)$", texts[f"api/{page}.md"], re.MULTILINE))
        classes = {thing for name in room.__all__ if isinstance(thing := getattr(room, name), type)}
        assert {f"{thing.__module__}.{thing.__qualname__}" for thing in classes if thing.__module__.startswith("disttrain.")} <= shown, page
