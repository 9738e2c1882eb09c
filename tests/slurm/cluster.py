"""A real SLURM with two nodes on this one host: munge, slurmctld and a slurmd a node.

Debian builds SLURM so that several slurmd share a host. Everything they write lies in one folder;
outside it only two lines in /etc/hosts name the nodes. All is put away again by `stop`.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
NODES = ("ladder1", "ladder2")
HOSTS = Path("/etc/hosts")
HOSTS_LINE = f"127.0.0.1 {' '.join(NODES)}  # two nodes of a SLURM under test\n"
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}

CONF = """
ClusterName=ladder
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
RequeueExit=99
GresTypes=gpu
KillWait=10
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
# cred_expire: a step that a busy machine launches later than this fails, and a requeued job waits
# as long before it runs again (default: 120 s). sched_interval is how often the queue is looked at
# (default: 60 s). config_overrides: believe the number of CPUs below, not the hardware.


def missing() -> str | None:
    """Returns one line on what is missing; installs SLURM from Debian if that is allowed."""
    if os.environ.get("CI") != "true" and os.environ.get("LADDER_SLURM") != "install":
        return f"installs SLURM and edits {HOSTS} only with CI=true or LADDER_SLURM=install"
    if not os.access(HOSTS, os.W_OK):
        return f"needs to name two nodes in {HOSTS}: run it as root"
    os.environ["PATH"] += ":/usr/sbin"  # where Debian puts daemons, and a user has not looked
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]  # another test may install
    install = [*apt, "install", "-y", "--no-install-recommends", *PACKAGES]
    for command in ([], install, [*apt, "update"], install):  # the lists may be absent or old
        if command and shutil.which("apt-get"):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(command, env=environment, capture_output=True)
        if all(map(shutil.which, ("munged", "slurmctld", "slurmd", "sbatch"))):
            return None
    return f"needs a SLURM on this machine: apt-get install {' '.join(PACKAGES)}"


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 30) -> None:
    """Looks five times a second, and raises if the condition does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:.0f} s still waiting for {what}")
        time.sleep(0.2)


class Cluster:
    """The daemons, and the few commands that the tests give them. A context manager."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm"))  # short: sockets allow 107 characters
        self.daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException:
            print(self.logs(), file=sys.stderr)
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- daemons --------------------------------------------------------------------------------

    def _start(self) -> None:
        self.folder.chmod(0o755)  # munged refuses to keep its socket where nobody else may look
        (self.folder / "state").mkdir()
        self._configure()
        self._name_nodes(True)
        munge = {
            "--key-file": "munge.key", "--socket": "munge.sock", "--pid-file": "munge.pid",
            "--log-file": "munge.log", "--seed-file": "munge.seed",
        }  # fmt: skip
        self._daemon("munged", "-F", *(f"{k}={self.folder / v}" for k, v in munge.items()))
        wait_for("munged", (self.folder / "munge.sock").exists)
        self._daemon("slurmctld", "-D", "-i")
        for node in NODES:
            (self.folder / node).mkdir()
            self._daemon("slurmd", "-D", "-N", node)
        wait_for("both nodes", lambda: self.run("sinfo", "-hN", "-tidle").count("\n") == 2)

    def _configure(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        host = socket.gethostname().partition(".")[0]
        values = {"host": host, "port": port, "user": getpass.getuser(), "folder": self.folder}
        lines = [CONF.format(**values)]
        for i, node in enumerate(NODES, start=1):
            lines.append(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port + i} CPUs=8 "
                "RealMemory=64000 Gres=gpu:a100:1 Feature=80gb\n"
            )
        (self.folder / "slurm.conf").write_text("".join(lines))
        (self.folder / "gres.conf").write_text("Name=gpu Type=a100 File=/dev/null\n")
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)

    @staticmethod
    def _name_nodes(named: bool) -> None:
        others = HOSTS.read_text().replace(HOSTS_LINE, "")
        # Written over, not replaced: in a container the file is a mount.
        HOSTS.write_text(others + HOSTS_LINE if named else others)

    def _daemon(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("ab") as out:
            self.daemons.append(
                subprocess.Popen(
                    command, env=self.environment, stdout=out, stderr=out, start_new_session=True
                )
            )

    def logs(self) -> str:
        """The end of each daemon's log, to read when they do not start."""
        files = [*self.folder.glob("*.log"), *self.folder.glob("*.out")]
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in files)

    def stop(self) -> None:
        """Ends jobs before the daemons, whose children they are not; removes what was written."""
        try:
            self.run("scancel", "--user", getpass.getuser(), check=False)
            wait_for("jobs to end", lambda: not self.run("squeue", "-h", check=False), 60)
        finally:
            for daemon in reversed(self.daemons):
                daemon.send_signal(signal.SIGTERM)
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            self._name_nodes(False)
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- jobs -----------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """The process's, and where SLURM's tools and daemons find this cluster."""
        return os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str, check: bool = True) -> str:
        """Runs a command and returns what it printed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def submit(self, *options: str) -> str:
        """Submits a batch script with its options and arguments; returns the job's number."""
        return self.run("sbatch", "--parsable", *options).strip()

    def job(self, job: str) -> dict[str, str]:
        """Returns the fields of a job, as the controller reports them."""
        words = self.run("scontrol", "-o", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_over(self, job: str, seconds: float = 180) -> str:
        """Waits until a job is over, requeued or not; returns its state."""
        wait_for(f"job {job}", lambda: self.job(job)["JobState"] in OVER, seconds)
        return self.job(job)["JobState"]
