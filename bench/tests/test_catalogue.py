"""The catalogue is whole: nothing of it was lost, nothing in it points nowhere."""

import re

from suites import catalogue


def test_holds_every_proposal_and_trick() -> None:
    proposals, tricks = catalogue.proposals(), catalogue.tricks()
    assert list(proposals) == [f"{number:03}" for number in range(1, 63)]
    assert len(tricks) == 187


def test_slugs_are_unique_and_plain() -> None:
    slugs = [entry["slug"] for entry in catalogue.proposals().values()]
    assert len(set(slugs)) == len(slugs)  # those of tricks are the keys of their tables
    for slug in [*slugs, *catalogue.tricks()]:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug), slug


def test_looking_one_up_agrees_with_reading_all() -> None:
    assert catalogue.proposal("026") == catalogue.proposals()["026"]
    assert catalogue.trick("cyclic-reduction") == catalogue.tricks()["cyclic-reduction"]
    assert catalogue.proposal("999") is None


def test_names_agree_with_the_tables() -> None:
    assert dict(catalogue.names("tricks")) == {
        slug: entry["category"] for slug, entry in catalogue.tricks().items()
    }
    assert set(catalogue.names("proposals")) == set(catalogue.proposals())


def test_references_between_entries_resolve() -> None:
    proposals = catalogue.proposals()
    for trick in catalogue.tricks().values():
        assert set(trick.get("used_by", ())) <= set(proposals), trick["slug"]
    for entry in proposals.values():
        assert set(entry.get("depends_on", ())) <= set(proposals), entry["id"]


def test_no_claim_or_report_lost_its_figure() -> None:
    entries = catalogue.proposals().values()
    claims = [claim for entry in entries for claim in entry.get("claims", ())]
    reports = [report for entry in entries for report in entry.get("reported", ())]
    assert (len(claims), len(reports)) == (111, 163)
    assert all("metric" in claim and "value" in claim and "kind" in claim for claim in claims)
    assert all("entry" in report and "value" in report for report in reports)


def test_prose_is_unwrapped() -> None:
    hypothesis = catalogue.proposals()["026"]["hypothesis"]
    assert "\n" not in hypothesis
    assert hypothesis == hypothesis.strip()


def test_goals_are_judged_beside_the_proposals_and_counted_apart() -> None:
    judged = catalogue.judged()
    goals = [number for number in judged if number not in catalogue.proposals()]
    assert goals == ["G1", "G2", "G3", "G4"]
    assert set(judged) == set(catalogue.judged_names()) == {*catalogue.proposals(), *goals}
    assert catalogue.subject("G1") == judged["G1"]
    assert catalogue.proposal("G1") is None
