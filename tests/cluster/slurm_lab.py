"""A real SLURM of this machine alone: munged, slurmctld and a slurmd per pretended node, in one folder.

Everything listens on 127.0.0.1 and is stopped by its process id.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")

CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/sock,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
SlurmdTimeout=10
SlurmdParameters=config_overrides
KillWait=2
MinJobAge=300
JobRequeue=1
ReturnToService=2
{nodes}
PartitionName=lab Nodes=ALL Default=YES MaxTime=60 State=UP
PartitionName=side Nodes=ALL MaxTime=60 State=UP
"""


def missing():
    """The programs that a lab needs and this machine lacks."""
    found = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=found) is None]


class SlurmLab:
    """A cluster with `nodes` nodes of `cpus` pretended cores; a context manager."""

    def __init__(self, nodes=2, cpus=4):
        self.folder = Path(
            tempfile.mkdtemp(prefix="slurm-", dir="/tmp")
        )  # a socket's path is short
        self.folder.chmod(0o755)
        self.nodes = [f"n{k + 1}" for k in range(nodes)]
        self.cpus = cpus
        self.daemons = {}
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        self.env = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def __enter__(self):
        try:
            self._configure()
            munge = self.folder / "munge"
            self._daemon(
                *("munged", "--foreground", "--force", "--num-threads=2"),
                *(f"--socket={munge}/sock", f"--key-file={munge}/key", f"--pid-file={munge}/pid"),
                *(f"--log-file={munge}/log", f"--seed-file={munge}/seed"),
            )
            self._until(lambda: (munge / "sock").exists())
            self._daemon("slurmctld", "-D")
            for node in self.nodes:
                self._daemon("slurmd", "-D", "-N", node, name=node)
            idle = ["idle"] * len(self.nodes)
            self._until(
                lambda: (
                    self.say("sinfo", "-hN", "-p", "lab", "-o", "%T", check=False).split() == idle
                )
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.say("scancel", "--user", str(os.getuid()), check=False)
            self._until(lambda: not self.say("squeue", "-h", check=False).strip(), 15)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def say(self, *command, check=True):
        """What a command of SLURM prints."""
        done = subprocess.run(
            command, env=self.env, text=True, capture_output=True, check=check, timeout=60
        )
        return done.stdout

    def jobs(self):
        """The queue: names of jobs and their states."""
        lines = self.say("squeue", "-h", "-r", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def _configure(self):
        for name in ("munge", "state", "log"):
            (self.folder / name).mkdir(mode=0o755)
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        control, *ports = _free_ports(1 + len(self.nodes))
        lines = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus}"
            " RealMemory=4000 State=UNKNOWN"
            for node, port in zip(self.nodes, ports, strict=True)
        ]
        text = CONF.format(
            host=host,
            control=control,
            user=getpass.getuser(),
            folder=self.folder,
            nodes="\n".join(lines),
        )
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")

    def _daemon(self, *command, name=None):
        with (self.folder / "log" / f"{name or command[0]}.out").open("ab") as log:
            self.daemons[name or command[0]] = subprocess.Popen(
                command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _until(self, true, seconds=30):
        end = time.monotonic() + seconds
        while not true():
            dead = [name for name, one in self.daemons.items() if one.poll() is not None]
            if dead or time.monotonic() > end:
                logs = [path.read_text()[-600:] for path in (self.folder / "log").glob("*")]
                raise RuntimeError(
                    f"SLURM does not come up ({dead or 'it takes too long'}): {logs}"
                )
            time.sleep(0.05)


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
