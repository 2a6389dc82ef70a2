"""The benchmarks still work: their counts, results and output are right, every part imports."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
from export_jobs.aws.clock import now_ms
from export_jobs.client.tokens import CREDENTIAL_MAX_AGE_S
from export_jobs.model.calendar import local_date, zone_named
from export_jobs.monitor.expectations import MAX_HISTORY
from export_jobs_cli.stack import DeployedSystem
from export_jobs_local.aws.server import MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.exporting.generate import generate
from export_jobs_local.isolation import aws_session
from support.broad_run import emitted_metrics
from support.files import ROOT
from support.quiet import first_sweeps

sys.path.insert(0, str(ROOT))  # they are not an installed package

from benchmarks import __main__ as command
from benchmarks import baselines, bill, cost, export, export_sides, growth, page
from benchmarks.line import Served, field_case_21
from benchmarks.measuring import Line, Spread, Timed, in_sums, in_turns, line_through
from benchmarks.on_record import DAY_MS, Amount, OnRecord
from benchmarks.report import Section, put_into, table
from benchmarks.stage import count_calls

SECTION = Section(
    "Some part",
    "python -m benchmarks some_part",
    ("", "ratio", "ours"),
    [("quiet", "**1.00**", "2.0 ms"), ("busy", "**2.00**", "4.0 ms")],
    remarks=("How it was measured.",),
)
MARKDOWN = """\
## Some part

`python -m benchmarks some_part`

|  | ratio | ours |
|---|---:|---:|
| quiet | **1.00** | 2.0 ms |
| busy | **2.00** | 4.0 ms |

How it was measured.
"""


class TestBaselines:
    def test_the_page_has_a_place_for_every_table(self) -> None:
        """`python -m benchmarks.baselines --page docs/baselines.md` puts them there."""
        page = (ROOT / "docs" / "baselines.md").read_text()
        for name in baselines.TABLES:
            assert "|---|" in page.partition(f"<!-- begin {name} -->")[2].partition("<!-- end")[0]
            assert put_into(page, name, "a table") != page

    def test_the_same_is_measured_each_time(self) -> None:
        """The series are seeded, so a changed number comes from a changed rule."""
        first = baselines.false_alarms(baselines.NIGHTLY, 0.3, range(7, 28), 40)
        assert first == baselines.false_alarms(baselines.NIGHTLY, 0.3, range(7, 28), 40)
        runs, found = first
        assert runs == 40 * 21 * baselines.MORE
        assert 0 < found.total() < runs / 20

    def test_what_is_changed_is_found_and_nothing_else(self) -> None:
        """Where values do not vary, each change is always found, and no other run is unusual."""
        shares = baselines.found_in(baselines.NIGHTLY, 0.0, 35, 5)
        found = dict(zip(baselines.CHANGES, shares, strict=True))
        assert (found["half"], found["twice as many"], found["four times as slow"]) == (1, 1, 1)
        assert baselines.alarms_of_step(0.0, 0.5, days=35, tries=3) == (3, 1)
        assert baselines.false_alarms(baselines.NIGHTLY, 0.0, range(7, 90), 1)[1].total() == 0


class TestBill:
    def test_the_page_on_deployment_has_the_table(self) -> None:
        """`python -m benchmarks.bill --page docs/deploy.md` puts it there."""
        page = (ROOT / "docs" / "deploy.md").read_text()
        assert put_into(page, "bill", table(bill.HEADERS, bill.rows())) == page
        beyond_free = bill.rows()[-1][5].strip("*")
        assert f"costs **${beyond_free}** a month" in page
        assert f"stack then costs ${float(beyond_free) - 1:.2f}." in page

    def test_the_bill_is_under_two_dollars(self) -> None:
        """Beyond what every account has free, for one sandbox."""
        assert float(bill.rows()[-1][5].strip("*")) < 2

    def test_amounts_are_those_of_a_real_quiet_sweep(self) -> None:
        """A new metric, call or log line would make the table wrong."""
        _, _, sweep = first_sweeps(3)
        emitted, _ = emitted_metrics(list(sweep.lines))
        assert len({name for name, _ in emitted}) == bill.QUIET.metrics
        assert sweep.aws == ("dynamodb:Query",) * bill.QUIET.queries
        log_bytes = sum(len(line) + 1 for line in sweep.lines)
        assert log_bytes == pytest.approx(bill.QUIET.log_bytes, rel=0.02)
        assert bill.amounts()[0]["reads of the secret"] == bill.HOURS * 3_600 / CREDENTIAL_MAX_AGE_S

    def test_free_amounts_count_once(self) -> None:
        """What is beyond them is charged, and nothing below zero."""
        price = bill.Price(2.0, per=10, free=100)
        assert (price.of(150), price.beyond_free(150), price.beyond_free(50)) == (30, 10, 0)


class TestCostToKnow:
    def test_a_quiet_minute_is_one_listing_and_one_query(self) -> None:
        """Any other call or write by a sweep with nothing new would show here first."""
        played = cost.play(cost.Week("quiet", 0, 0, history=500), minutes=100)
        assert played.ours.keys() == {"GET jobs", "Query", "read units"}
        assert played.ours["GET jobs"] == played.ours["Query"] == 100

    def test_all_follow_the_same_jobs(self) -> None:
        """Ours publishes every change of the simulated time, and the least possible has each."""
        played = cost.play(cost.Week("busy", 500, 10, history=50), minutes=200)
        assert played.changes > 50
        assert played.ours["events on the bus"] == played.changes
        assert played.ours["events on the topic"] == played.ends
        assert cost.bills(played)["least"]["events on the bus"] == played.changes
        others = {
            name for name in played.ours if name.endswith(("units", "on the bus", "on the topic"))
        }
        assert played.ours.keys() - others <= {*cost.API, *cost.AWS}, "calls that no table counts"
        assert "BatchGetItem" in played.ours

    def test_everybody_is_charged_what_they_cannot_do_without(self) -> None:
        """The bills of ten minutes with 21 changes, 7 of them ends, as worked out by hand."""
        played = cost.Played(
            Counter({"GET jobs": 12, "Query": 11}),
            changes=21,
            ends=7,
            open_minutes=100,
            pages_of_everything=50,
        )
        bills = cost.bills(played, minutes=10)
        assert bills["least"] == {
            "GET jobs": 10,
            "Query": 10,
            "read units": 10,
            "PutItem": 21,
            "write units": 21,
            "PutEvents": 3,
            "PublishBatch": 1,
            "events on the bus": 21,
            "invocations": 10,
            "GB-seconds": 1,  # half of 10 calls of 0.2 s and 35 of 0.01 s
        }
        assert bills["everything"] == {
            "GET jobs": 50,
            "PutItem": 21,
            "write units": 21,
            "PutEvents": 21,
            "PublishBatch": 7,
            "events on the bus": 21,
            "invocations": 10,
            "GB-seconds": 5,  # half of 50 calls of 0.2 s and 49 of 0.01 s
        }
        assert bills["loops"] == {
            "GET job": 100,
            "transitions": 328,
            "PutEvents": 7,
            "PublishBatch": 7,
            "events on the bus": 7,
            "invocations": 100,
            "GB-seconds": 10,  # half of 100 calls of 0.2 s and 14 of 0.01 s
        }
        assert bills["ours"]["GET jobs"] == 12

    def test_a_month_is_thirty_days_at_list_prices(self) -> None:
        """7 million invocations and 700 transitions a week are 30 million and 3,000 a month."""
        week = {"invocations": 7_000_000, "transitions": 700, "GET jobs": 10**9}
        assert cost.dollars_a_month(week) == pytest.approx(6.0 + 0.075)


class TestGrowth:
    @pytest.mark.parametrize(
        ("growing", "sizes", "calls"),
        [
            ("open jobs", (10, 100), None),
            ("changes in one sweep", (10, 100), None),
            ("ended jobs in the history", (100, 10_000), [2, 2]),
            ("expected exports", (0, 1_000), [2, 2]),
            ("kinds of exports", (0, 10_000), [7, 7]),
            ("sandboxes", (1, 3), [2, 6]),
        ],
    )
    def test_each_is_measured_at_every_size(
        self, growing: str, sizes: tuple[int, ...], calls: list[int] | None
    ) -> None:
        """Times and calls come with their size; where nothing is new, a sandbox takes two calls."""
        make = next(found.make for found in growth.GROWING if found.name == growing)
        found = growth.grown(growth.Growing(growing, sizes, make), turns=1)
        assert [size for size, _ in found.cpu_s] == [size for size, _ in found.calls] == list(sizes)
        assert all(took > 0 for _, took in found.cpu_s)
        if calls:
            assert [made for _, made in found.calls] == calls
        else:
            assert found.calls[0][1] < found.calls[1][1]


class TestLine:
    def test_a_burst_is_served_before_those_who_come_after_it(self) -> None:
        """Field case 21: no request of the burst is unserved or overtaken by later ones."""
        served = field_case_21(hours=3)
        assert served.burst <= served.created.keys()
        assert len(served.created) > len(served.burst)
        assert (served.unserved, served.overtaken) == ([], [])

    def test_reports_unserved_and_overtaken_requests(self) -> None:
        """A request of the burst without a job is unserved; the last to arrive may still wait."""
        served = Served(
            arrived={"a": 0, "b": 1, "c": 2, "d": 100_000, "e": 200_000},
            created={"a": 300_000, "c": 150_000, "d": 250_000},
            burst=frozenset({"a", "b", "c"}),
        )
        assert served.unserved == ["b"]
        assert served.overtaken == [("a", "d")]


@pytest.fixture(scope="module")
def export_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data in which some profiles have a namespace in two fragments, with other identities."""
    root = tmp_path_factory.mktemp("export")
    generate(root / "data", profiles=1_000, seed=3)
    fragments = root / "data" / "fragments"
    duckdb.sql(
        f"COPY (SELECT * REPLACE (MAP {{'email': ['second', profileId]}} AS identityMap)"
        f" FROM '{fragments}/part-00000.parquet' WHERE sourceDatasetId = 'web')"
        f" TO '{fragments}/part-00001.parquet' (FORMAT parquet)"
    )
    return root


class TestExport:
    @pytest.mark.parametrize("case", export_sides.CASES)
    @pytest.mark.parametrize("side", export_sides.PEERS)
    def test_peers_export_what_we_do(self, export_root: Path, side: str, case: str) -> None:
        """The same columns, rows and profiles of each namespace; so the comparison is fair."""
        if side == "polars":
            pytest.importorskip("polars")  # a requirement of the benchmarks only
        ours, theirs = (export_sides.export(one, case, export_root) for one in ("ours", side))
        assert export.contents(export_sides.written(side, export_root)) == export.contents(
            export_sides.written("ours", export_root)
        )
        assert theirs.namespaces == ours.namespaces
        assert ours.namespaces["email"] > 0

    @pytest.mark.parametrize(
        "changed",
        [
            "SELECT * FROM rows LIMIT 800",
            "SELECT * REPLACE ({'tier': 'gold', 'points': 1} AS loyalty) FROM rows",
            "SELECT * REPLACE (MAP {'email': ['second']} AS identityMap) FROM rows",
            "SELECT * EXCLUDE loyalty FROM rows",
        ],
    )
    def test_a_difference_ends_the_part(self, export_root: Path, changed: str) -> None:
        """Nothing is reported about sides that did not write the same, or counted differently."""
        namespaces = export_sides.export("ours", export_sides.PROFILES, export_root).namespaces
        counted = dict.fromkeys(("ours", *export_sides.PEERS), namespaces)
        ours = export_sides.written("ours", export_root)
        for side in export_sides.PEERS:
            theirs = export_sides.written(side, export_root)
            shutil.rmtree(theirs, ignore_errors=True)
            shutil.copytree(ours, theirs)
        assert export.check_equal(export_root, counted) > 900
        with pytest.raises(export.Different, match="Polars"):
            export.check_equal(export_root, {**counted, "polars": {**namespaces, "email": 1}})
        rows = duckdb.read_parquet(f"{ours}/*.parquet")
        rows.query("rows", changed).write_parquet(str(theirs / "part-00000.parquet"))
        with pytest.raises(export.Different, match="Polars"):
            export.check_equal(export_root, counted)

    def test_a_side_is_measured_in_its_own_process(self, export_root: Path) -> None:
        """So that its peak of memory is its own."""
        found = export_sides.measured("by hand", export_sides.SEGMENT, export_root)
        assert found.namespaces["email"] > 0
        assert found.elapsed_s > 0
        assert 20 < found.peak_mib < 1_000


class TestPage:
    AMOUNT = Amount(jobs=120, datasets=3, days=20, running=2, waiting=2, rejected=2)

    def test_each_page_takes_the_same_few_reads(self, aws: MotoServer, stack: LocalStack) -> None:
        """Two for an overview, also after a job has ended, however much is on record."""

        def opened(calls: Counter[str]) -> DeployedSystem:
            session = aws_session()
            count_calls(session, calls)
            return DeployedSystem(stack.name, session=session, endpoint_url=aws.url)

        on_record = OnRecord(page.SANDBOX, self.AMOUNT, now_ms())
        found = page.measured(opened, on_record, first_turns=1, turns=2)
        assert {one.name: one.reads for one in found} == {
            "first overview": 4,  # what is unfinished, jobs, expectations and names
            "overview, nothing new": 1,
            "overview, a job has ended": 2,
            "overview, unchanged (304)": 1,
            "a job": 3,  # its baseline and its request
            "a dataset": 2,  # the baseline of its kind of export
            "requests": 2,  # the rejected ones
            "expectations": 1,
        }

    def test_what_is_on_record_is_what_sweeps_leave(self) -> None:
        """Every job with its whole end and its events, and every expectation as it was judged."""
        on_record = OnRecord(page.SANDBOX, self.AMOUNT, now_ms())
        assert len(on_record.jobs) == 120
        for job in on_record.jobs:
            assert [event.detail["sequence"] for event in job.history] == [1, 2, 3]
            assert (job.is_open, job.end["outcome"]) == (False, job.outcome)
        assert {"SUCCEEDED", "FAILED"} <= {job.outcome for job in on_record.jobs}
        for record in on_record.expectations():
            assert len(record.history) == MAX_HISTORY
            assert record.window
            assert record.window.due > on_record.now
        assert OnRecord(page.SANDBOX, self.AMOUNT, on_record.now).jobs == on_record.jobs

    def test_each_dataset_has_a_run_every_day(self) -> None:
        """So the grid of the overview is full."""
        few = replace(page.AMOUNT, jobs=page.AMOUNT.jobs // 50, datasets=2)
        on_record = OnRecord(page.SANDBOX, few, now_ms())
        for exports in on_record.exports:
            its = [job for job in on_record.jobs if job.dataset_id == exports.dataset_id]
            days = sorted({local_date(job.creation_time, zone_named("UTC")) for job in its})
            assert len(its) == 100
            assert all((later - day).days == 1 for day, later in pairwise(days[-14:]))
            assert its[0].creation_time > on_record.now - 2 * DAY_MS


class TestMeasuring:
    @pytest.mark.parametrize(
        ("points", "line"),
        [
            ([(0, 1), (1, 3), (2, 5)], Line(2, 1, 1)),
            ([(1, 4), (10, 4), (100, 4)], Line(0, 4, 1)),
            ([(0, 0), (1, 1), (2, 0)], Line(0, 1 / 3, 0)),
        ],
    )
    def test_line_through_known_points(self, points: list[tuple[float, float]], line: Line) -> None:
        """Slope, intercept and goodness of fit match a calculation by hand."""
        found = line_through(points)
        assert (found.slope, found.start, found.fit) == pytest.approx(
            (line.slope, line.start, line.fit)
        )

    def test_works_take_turns_and_the_first_does_not_count(self) -> None:
        """A temporary slowdown affects all alike, and warming up affects none."""
        order: list[str] = []
        numbers = iter(range(10))

        def work(name: str) -> int:
            order.append(name)
            return next(numbers)

        found = in_turns({"a": lambda: work("a"), "b": lambda: work("b")}, turns=2)
        assert order == ["a", "b"] * 3
        assert found == {"a": [2, 4], "b": [3, 5]}

    def test_ratios_are_those_of_each_turn(self) -> None:
        """A turn in which the machine was slow for both counts like any other."""
        values = {"ours": iter((3.0, 30.0, 5.0)), "bare": iter((2.0, 20.0, 2.0))}
        found = in_turns(
            {name: lambda n=name: next(values[n]) for name in values}, turns=3, warm_up=0
        )
        ours, bare = (Spread(tuple(found[name])) for name in ("ours", "bare"))
        assert ours.over(bare) == Spread((1.5, 1.5, 2.5))
        assert ours.over(bare).as_ratio() == "**1.50×** (1.50–2.50)"  # noqa: RUF001

    def test_short_measurements_make_a_turn(self) -> None:
        """Each turn has the sums of its own: CPU time apart from elapsed time."""
        short = [Timed(1.0, 2.0), Timed(3.0, 5.0), Timed(10.0, 20.0), Timed(30.0, 50.0)]
        assert in_sums(short, 2) == [Timed(4.0, 7.0), Timed(40.0, 70.0)]


class TestCommand:
    def test_a_section_is_a_markdown_table(self) -> None:
        """What a part prints can be pasted into a page as it is."""
        assert SECTION.markdown() == MARKDOWN

    def test_prints_and_keeps_what_was_measured(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Each table is on the screen and in results.md, under the machine it was measured on."""
        monkeypatch.setattr(command, "RESULTS", tmp_path / "bench")
        monkeypatch.setattr(command, "run", lambda _: SECTION)
        command.main(["cost", "warm"])
        kept = (tmp_path / "bench" / "results.md").read_text()
        assert kept.count(MARKDOWN) == 2
        assert capsys.readouterr().out.split() == kept.split()
        assert kept.startswith("# Measured\n\nPython ")

    def test_puts_the_tables_into_a_page(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A table replaces the one between its marks; what people wrote around it stays."""
        page = tmp_path / "page.md"
        old = "before\n<!-- begin warm -->\nold\n<!-- end warm -->\nafter\n"
        page.write_text("<!-- begin machine -->\n<!-- end machine -->\n" + old)
        monkeypatch.setattr(command, "RESULTS", tmp_path)
        monkeypatch.setattr(command, "run", lambda _: SECTION)
        for _ in range(2):
            command.main(["warm", "--page", str(page)])
        machine, _, rest = page.read_text().partition("<!-- end machine -->\n")
        assert machine == "<!-- begin machine -->\n"
        assert rest == f"before\n<!-- begin warm -->\n{MARKDOWN}<!-- end warm -->\nafter\n"
        with pytest.raises(ValueError, match="no place for cost"):
            command.main(["cost", "--page", str(page)])

    def test_only_a_run_of_all_parts_says_where_and_when_the_page_was_measured(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The tables of a page that names one machine and one day are of one run."""
        page = tmp_path / "page.md"
        parts = ("machine", *command.PARTS)
        page.write_text("".join(f"<!-- begin {part} -->\n<!-- end {part} -->\n" for part in parts))
        monkeypatch.setattr(command, "RESULTS", tmp_path)
        monkeypatch.setattr(command, "run", lambda _: SECTION)
        command.main(["--page", str(page)])
        assert page.read_text().startswith("<!-- begin machine -->\nPython ")
        assert page.read_text().count(MARKDOWN) == len(command.PARTS)

    def test_the_page_has_a_place_for_every_part(self) -> None:
        """One option renews every measurement in docs/performance.md, and nothing else."""
        page = (ROOT / "docs" / "performance.md").read_text()
        assert page.count("<!-- begin ") == 1 + len(command.PARTS)
        for part in ("machine", *command.PARTS):
            page = put_into(page, part, "new")
        assert page.count("\nnew\n") == 1 + len(command.PARTS)

    def test_lists_the_parts(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A misspelt part measures nothing, and the message names those that exist."""
        with pytest.raises(SystemExit) as ended:
            command.main(["cost", "wram"])
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "wram" in said
        assert "warm" in said

    @pytest.mark.parametrize("part", command.PARTS)
    def test_imports_without_the_benchmarks_own_requirements(
        self, part: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are imported where they are used, so these tests need none of them."""
        for missing in ("aepp", "matplotlib", "polars"):
            monkeypatch.setitem(sys.modules, missing, None)
        for name in [name for name in sys.modules if name.startswith("benchmarks.")]:
            monkeypatch.delitem(sys.modules, name)
        assert callable(importlib.import_module(f"benchmarks.{part}").run)
