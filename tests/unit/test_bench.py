"""The bench measures what it says it does; how long that takes is nobody's assertion."""

from __future__ import annotations

from pathlib import Path

from tests.bench.run import HERE, Median, make_inventory, rendering_section, run


def test_the_rendering_bench_counts_tasks_and_bytes(tmp_path: Path) -> None:
    """Preflight runs once per host; one task declares Prometheus, and its declaration grows with the inventory."""
    found = {}
    for size in (2, 40):
        inventory = tmp_path / f"hosts-{size}.yml"
        make_inventory(inventory, size)
        render = run(HERE / "render.yml", inventory, stub=True)
        assert render.counted["tasks"] == {"node0000": 1}
        assert sum(render.counted["seconds"].values()) < render.wall
        found[size] = render
    assert found[40].counted["sent"] > found[2].counted["sent"] + 38 * len("10.0.0.1:9100")
    preflight = run(HERE / "preflight.yml", tmp_path / "hosts-2.yml")
    assert preflight.counted["tasks"] == {"node0000": 1, "node0001": 1}
    assert not preflight.remote, "nothing goes to a host"

    document = rendering_section({size: (Median([preflight]), Median([found[2]])) for size in (100, 1000)})
    assert any("render, task 1.0" in line for line in document)
