"""A sweep on a real Dask cluster: a scheduler and workers as processes of their own, killed on the way."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from fake_backend import cluster_sweep
from processes import HERE, alive, children, environment, wait_for

from dibench import files
from dibench.errors import UserError
from dibench.sweep.cluster import ClusterCrew
from dibench.sweep.events import CaseEnded, DeviceJoined, DeviceLost
from dibench.sweep.run import run_sweep
from dibench.table import read_csv

pytest.importorskip("distributed", reason="the extra [dask] is not installed")

_QUIET = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false", "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h"}


class Cluster:
    """A scheduler, and workers by the device that they stand for."""

    def __init__(self, directory: Path, *security: str) -> None:
        """`security`: options of scheduler and workers, for a cluster that speaks TLS."""
        self._directory, self._security = directory, security
        self._file = directory / "scheduler.json"
        self._programs: list[subprocess.Popen[bytes]] = []
        protocol = ("--protocol", "tls") if security else ()
        self._scheduler = self._start(
            "scheduler", "--port", "0", "--scheduler-file", str(self._file), *protocol
        )
        wait_for(lambda: self._address())
        self.address = self._address()
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def _address(self) -> str:
        """Of the scheduler; empty until its file is there and whole."""
        try:
            return str((files.read_json_object(self._file) or {}).get("address", ""))
        except UserError:
            return ""

    def _start(self, verb: str, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        start = f"import sys; from distributed.cli import dask_{verb} as it; it.main(sys.argv[1:])"
        with (self._directory / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", start, *arguments, *self._security, "--no-dashboard"],
                stdout=log,
                stderr=log,
                env=environment(**_QUIET, **env),
                cwd=self._directory,
            )

    def add(self, device: str, *further: str, **env: str) -> None:
        resources = further or ("--resources", "dibench=1")
        program = self._start(
            "worker",
            self.address,
            *("--nthreads", "1", "--no-nanny", "--memory-limit", "0", *resources),
            CUDA_VISIBLE_DEVICES=device,
            **env,
        )
        self.workers[device] = program
        self._programs.append(program)

    def wait(self, number: int) -> None:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(number, timeout=30)

    def close(self) -> None:
        for program in (*self._programs, self._scheduler):
            program.kill()
            program.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        for device in ("card-a", "card-b", "card-c"):
            made.add(device)
        made.wait(3)
        yield made
    finally:
        made.close()


def test_workers_killed_on_the_way_cost_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """One is killed and comes anew, one stands still and is killed; a case kills its device's process."""
    names = ["slow"] * 60
    names[10] = "crash"
    events: list[Any] = []
    held: list[int] = []

    def watch(event: Any) -> None:
        events.append(event)
        ended = sum(isinstance(each, CaseEnded) for each in events)
        if not isinstance(event, CaseEnded):
            return
        if ended == 8:
            held.extend(children(cluster.workers["card-a"].pid))
            cluster.workers["card-a"].kill()
            cluster.add("card-a")
        if ended == 20:
            cluster.workers["card-b"].send_signal(signal.SIGSTOP)
        if ended == 30:
            cluster.workers["card-b"].kill()

    summary = run_sweep(cluster_sweep(names, cluster.address), tmp_path, on_event=watch)
    frame = read_csv(tmp_path / "sweep.csv")
    assert (summary.ended, summary.left, summary.measured) == ("complete", 0, 60)
    assert sorted(frame["order"]) == list(range(1, 61)) and frame["case_id"].is_unique
    failed = frame[frame["status"] == "failed"]
    assert list(failed["reason"]) == ["worker died: SIGSEGV"]
    assert len(Counter(frame["device_uuid"])) == 3
    assert sum(isinstance(event, DeviceLost) for event in events) == 2
    assert sum(isinstance(event, DeviceJoined) for event in events) <= 1
    assert len(held) >= 1
    for pid in held:
        wait_for(partial(_ended, pid), 5.0)
    cluster.add("card-b")
    cluster.wait(3)


def _ended(pid: int) -> bool:
    return not alive(pid)


def test_a_sweep_killed_and_begun_again_on_the_same_cluster(cluster: Cluster, tmp_path: Path) -> None:
    program = subprocess.Popen(
        [
            sys.executable,
            str(HERE / "fake_backend.py"),
            str(tmp_path),
            "60",
            cluster.address,
        ],
        env=environment(),
    )
    table = tmp_path / "sweep.csv"
    wait_for(lambda: table.exists() and table.read_bytes().count(b"\n") > 10)
    with pytest.raises(UserError, match=r"--scheduler: worker tcp.*measures for another sweep"):
        run_sweep(cluster_sweep(["slow"], cluster.address), tmp_path / "other")
    program.kill()
    program.wait()
    time.sleep(0.2)
    summary = run_sweep(cluster_sweep(["slow"] * 60, cluster.address), tmp_path)
    frame = read_csv(table)
    assert summary.left == 0 and 0 < summary.measured < 60
    assert sorted(frame["order"]) == list(range(1, 61))


def test_a_case_that_takes_its_worker_with_it_is_given_up(cluster: Cluster, tmp_path: Path) -> None:
    summary = run_sweep(cluster_sweep(["slow", "gone", "slow"], cluster.address), tmp_path)
    frame = read_csv(tmp_path / "sweep.csv").set_index("name")
    assert summary.statuses["failed"] == 1 and summary.left == 0
    assert "3 devices were lost while it was measured" in str(frame.loc["gone", "reason"])


def test_when_no_worker_is_left_the_sweep_ends_in_one_line(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dibench.sweep.cluster._PATIENCE_S", 0.5)
    cluster.add("card-f")
    cluster.wait(1)
    with pytest.raises(UserError, match=r"--scheduler: has no worker left .*the same command resumes"):
        run_sweep(cluster_sweep(["slow", "gone", "slow"], cluster.address), tmp_path)
    assert list(read_csv(tmp_path / "sweep.csv")["status"]) in (["ok"], ["flagged"])


def test_what_is_wrong_with_a_cluster_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    for device, program in list(cluster.workers.items()):
        program.kill()
        program.wait()
        del cluster.workers[device]
    cluster.add("card-d", "--resources", "other=1")
    cluster.wait(1)
    sweep = cluster_sweep(["slow"], cluster.address)
    with pytest.raises(UserError, match=r"has no worker with the resource dibench: start one for each GPU"):
        run_sweep(sweep, tmp_path)
    cluster.add("card-e")
    cluster.wait(2)
    with pytest.raises(UserError, match=r"kernel sources .* the same as the sweep's: cccccccccccccccc, is"):
        run_sweep(attrs.evolve(sweep, sources_sha="c" * 64), tmp_path)
    cluster.add("card-e")
    cluster.wait(3)
    with pytest.raises(UserError, match=r"must have each device once, .* so a host has one worker for it"):
        run_sweep(sweep, tmp_path)
    for wrong in ("tcp://127.0.0.1:1", "nonsense", "http://x:y"):
        with pytest.raises(UserError, match=r"--scheduler: must be the address of a Dask scheduler"):
            run_sweep(attrs.evolve(sweep, scheduler=wrong), tmp_path)
    assert not (tmp_path / "sweep.csv").exists()


def test_a_second_worker_of_one_device_that_comes_late_is_said_to_be_left_out() -> None:
    def worker(address: str) -> Any:
        device = SimpleNamespace(name="AMD EPYC", uuid="host-1", facts={})
        setup = SimpleNamespace(device=device, meter=SimpleNamespace(source="none"))
        return SimpleNamespace(address=address, setup=setup)

    crew = object.__new__(ClusterCrew)
    crew.devices, late = [worker("tcp://a:1")], worker("tcp://b:2")
    crew._refused, crew._why_refused = set(), []
    crew._opening_now = {late.address: (late, SimpleNamespace(done=lambda: True))}
    crew._finish = lambda device, future: None  # type: ignore[method-assign]  # it has answered
    assert crew._opened_meanwhile() == []
    (why,) = crew.refused()
    assert why.startswith("worker tcp://b:2: must have each device once")
    assert "a host has one worker for it" in why and not crew.refused()


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificates, is not installed")
    directory.mkdir()
    made, key = directory / "cert.pem", directory / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=dibench",
    ]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True, timeout=60)
    return made, key


def of_client(made: Path, key: Path) -> dict[str, str]:
    """As docs/scale.md names them."""
    names = {"CA_FILE": made, "CLIENT__CERT": made, "CLIENT__KEY": key}
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in names.items()}


def test_a_cluster_that_speaks_tls(tmp_path: Path) -> None:
    made, key = certificate(tmp_path / "ours")
    cluster = Cluster(tmp_path, "--tls-ca-file", str(made), "--tls-cert", str(made), "--tls-key", str(key))
    try:
        assert cluster.address.startswith("tls://")
        cluster.add("card-a")

        def sweep(out: Path, **variables: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, str(HERE / "fake_backend.py"), str(out), "4", cluster.address]
            env = environment(**variables)
            return subprocess.run(command, capture_output=True, text=True, env=env, timeout=90, check=False)

        wait_for(lambda: "Registered to" in (tmp_path / "log").read_text(errors="replace"), 60.0)
        done = sweep(tmp_path / "out", **of_client(made, key))
        assert done.stdout.strip() == "complete", done.stderr
        assert len(read_csv(tmp_path / "out" / "sweep.csv")) == 4
        for strangers in ({}, of_client(*certificate(tmp_path / "theirs"))):
            refused = sweep(tmp_path / "refused", **strangers)
            assert refused.returncode != 0 and "tls:// needs certificates" in refused.stderr
            assert "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in refused.stderr.splitlines()[-1]
        plain = cluster.address.replace("tls://", "tcp://")
        with pytest.raises(UserError, match="must be the address of a Dask scheduler"):
            run_sweep(cluster_sweep(["first"], plain), tmp_path / "plain")
    finally:
        cluster.close()


SAYS = {
    "nothing": b"",
    "as ssh does": b"SSH-2.0-OpenSSH_9.2\r\n",
    "as a web server does": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": bytes(200),
}


@pytest.mark.parametrize("says", SAYS)
@pytest.mark.parametrize("protocol", ["tcp", "tls"])
def test_what_is_no_scheduler_is_one_line_within_seconds(
    says: str, protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dibench.sweep.cluster._KNOCK_S", 1.0)
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(server.accept()[0])
                    accepted[-1].sendall(SAYS[says])

        threading.Thread(target=serve, daemon=True).start()
        address = f"{protocol}://127.0.0.1:{server.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(UserError, match="--scheduler: ") as found:
            run_sweep(cluster_sweep(["first"], address), tmp_path / "out")
        assert time.monotonic() - begin < 10 and "\n" not in str(found.value)
        assert not (tmp_path / "out").exists()
    for connection in accepted:
        connection.close()
