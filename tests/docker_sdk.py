"""What programs do with docker's SDK for Python, against the daemon at DOCKER_HOST.

Run by tests/docker_sdk.rs, a group of steps at a time: docker_sdk.py GROUP. The image `box` is there, with busybox and the
payload. Fails with the first thing that is not as docker's.
"""

import io
import sys
import tarfile
import time

import docker
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.types import LogConfig, Mount, Ulimit

IMAGE = "box"


def refused(status, part, call, *words, **options):
    """A call must be refused with an HTTP status and a text."""
    try:
        call(*words, **options)
    except APIError as e:
        assert e.response.status_code == status, (e.response.status_code, str(e))
        assert part in e.explanation, e.explanation
        return
    raise AssertionError(f"{call.__name__} was not refused")


def archive(**files):
    """A tar with files of these names and contents."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mtime = 1_000_000_000
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def members(chunks):
    """Names and contents of a tar that comes in parts."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        files = {m.name: tar.extractfile(m).read() if m.isfile() else None for m in tar.getmembers()}
    return files


def running(client, name, command="payload ready 1000", **options):
    return client.containers.run(IMAGE, command, name=name, detach=True, network_mode="none", **options)


def await_(what, holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


def system(client):
    assert client.ping() is True
    version = client.version()
    assert version["ApiVersion"] == client.api.api_version or version["ApiVersion"] == "1.44", version
    for key in ("Version", "MinAPIVersion", "GitCommit", "GoVersion", "Os", "Arch", "KernelVersion", "Components"):
        assert key in version, key
    info = client.info()
    assert info["Images"] == 1 and info["Containers"] == 0 and info["OSType"] == "linux", info
    assert isinstance(info["NCPU"], int) and isinstance(info["MemTotal"], int), info
    container = client.containers.create(IMAGE, "true", name="sized")
    client.volumes.create("v0")
    df = client.df()
    assert [c["Names"] for c in df["Containers"]] == [["/sized"]], df
    assert [v["Name"] for v in df["Volumes"]] == ["v0"], df
    assert len(df["Images"]) == 1 and df["Images"][0]["Size"] > 0 and df["LayersSize"] > 0, df
    assert df["Images"][0]["Containers"] == 1, df
    container.remove()
    client.volumes.get("v0").remove()


def images(client):
    (image,) = client.images.list()
    assert image.tags == ["box:latest"] and image.id.startswith("sha256:"), image.tags
    assert client.images.get(IMAGE) == image and client.images.get(image.short_id) == image
    assert image.attrs["Os"] == "linux" and image.attrs["RootFS"]["Layers"], image.attrs
    assert image.history()[0]["Id"], image.history()
    assert image.tag("other", tag="v1") is True
    image.reload()
    assert sorted(image.tags) == ["box:latest", "other:v1"], image.tags
    assert [i.id for i in client.images.list(name="other")] == [image.id]
    assert client.images.list(filters={"dangling": True}) == []
    assert client.images.list(filters={"reference": "nothing*"}) == []
    saved = b"".join(client.images.get("other:v1").save(named="other:v1"))
    client.images.remove("other:v1")
    (loaded,) = client.images.load(saved)
    assert loaded.tags == ["other:v1"], loaded.tags
    client.images.remove("other:v1")
    # From bytes, with changes of the configuration.
    said = client.api.import_image_from_data(
        archive(etc=b""), repository="imported", tag="1", changes=["CMD [\"true\"]", "ENV A=b"]
    )
    assert "sha256:" in said, said
    imported = client.images.get("imported:1")
    assert imported.attrs["Config"]["Cmd"] == ["true"] and "A=b" in imported.attrs["Config"]["Env"], imported.attrs
    client.images.remove(imported.id, force=True)
    try:
        client.images.get("imported:1")
        raise AssertionError("it is there")
    except ImageNotFound as e:
        assert e.response.status_code == 404
    container = client.containers.create(IMAGE, "true")
    refused(409, "used by", client.images.remove, IMAGE)
    container.remove()
    pruned = client.images.prune()
    assert pruned["SpaceReclaimed"] == 0, pruned


def options(client):
    container = client.containers.create(
        IMAGE,
        ["payload", "ready", "1000"],
        name="many",
        hostname="host",
        user="1000:1000",
        working_dir="/tmp",
        environment={"A": "b", "EMPTY": ""},
        labels={"k": "v"},
        entrypoint=None,
        cap_drop=["ALL"],
        cap_add=["CHOWN"],
        security_opt=["no-new-privileges"],
        mem_limit="64m",
        memswap_limit="64m",
        nano_cpus=500_000_000,
        cpu_shares=512,
        pids_limit=50,
        oom_score_adj=100,
        shm_size="16m",
        read_only=True,
        tmpfs={"/scratch": "size=1m"},
        ulimits=[Ulimit(name="nofile", soft=50, hard=60)],
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 3},
        log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "1m", "max-file": "2"}),
        mounts=[Mount("/data", "named", type="volume", labels={"l": "m"}), Mount("/mem", None, type="tmpfs", tmpfs_size=1 << 20)],
        volumes={"/etc": {"bind": "/host-etc", "mode": "ro"}},
        extra_hosts={"other": "10.1.2.3"},
        stop_signal="SIGKILL",
        network_mode="none",
        sysctls={"net.ipv4.ip_forward": "1"},
        stdin_open=True,
        tty=False,
        init=False,
    )
    container.start()
    container.reload()
    assert container.status == "running" and container.labels == {"k": "v"}, container.attrs
    host = container.attrs["HostConfig"]
    for key, value in {
        "Memory": 64 << 20, "NanoCpus": 500_000_000, "CpuShares": 512, "PidsLimit": 50, "OomScoreAdj": 100, "ShmSize": 16 << 20,
        "ReadonlyRootfs": True, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "NetworkMode": "none",
    }.items():
        assert host[key] == value, (key, host[key])
    # Sizes come back in bytes.
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1048576", "max-file": "2"}}, host["LogConfig"]
    mounts = {m["Destination"]: m for m in container.attrs["Mounts"]}
    assert mounts["/data"]["Name"] == "named" and mounts["/data"]["RW"] is True, mounts
    assert mounts["/host-etc"]["RW"] is False and mounts["/host-etc"]["Type"] == "bind", mounts
    code, output = container.exec_run(["sh", "-c", "id -u; pwd; hostname; echo $A; df /scratch | tail -1 | wc -l; ulimit -n"])
    assert (code, output) == (0, b"1000\n/tmp\nhost\nb\n1\n50\n"), (code, output)
    assert client.volumes.get("named").attrs["Labels"] == {"l": "m"}
    # Limits of one that runs.
    container.update(mem_limit="80m", memswap_limit="80m", restart_policy={"Name": "no"})
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 80 << 20
    assert container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "no"
    container.rename("renamed")
    assert client.containers.get("renamed").id == container.id
    assert [c.name for c in client.containers.list(filters={"label": "k=v", "status": "running"})] == ["renamed"]
    container.stop(timeout=0)
    container.remove(v=True)
    client.volumes.get("named").remove()
    refused(400, "", client.containers.create, IMAGE, "true", mem_limit=1)
    try:
        client.containers.create("nosuch", "true")
        raise AssertionError("an image that is not there")
    except ImageNotFound:
        pass


def containers(client):
    assert client.containers.run(IMAGE, "echo well", remove=True, network_mode="none") == b"well\n"
    try:
        client.containers.run(IMAGE, ["sh", "-c", "echo bad >&2; exit 3"], remove=True, network_mode="none", stderr=True)
        raise AssertionError("it ends with 3")
    except ContainerError as e:
        assert e.exit_status == 3 and e.stderr == b"bad\n", (e.exit_status, e.stderr)
    await_("those are removed", lambda: client.containers.list(all=True) == [])
    container = running(client, "aa")
    assert container.status == "created"
    container.reload()
    assert container.status == "running"
    refused(409, "aa", client.containers.create, IMAGE, "true", name="aa")
    top = container.top()
    assert "PID" in top["Titles"] and any("payload" in word for word in top["Processes"][0]), top
    assert container.top(ps_args="-o pid,comm")["Titles"] == ["PID", "COMMAND"]
    stats = container.stats(stream=False)
    assert stats["memory_stats"]["usage"] > 0 and stats["pids_stats"]["current"] == 1, stats
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0 and stats["read"] > stats["preread"], stats
    stream = container.stats(stream=True, decode=True)
    assert next(stream)["id"] == container.id and next(stream)["name"] == "/aa"
    stream.close()
    container.pause()
    container.reload()
    assert container.status == "paused"
    refused(409, "pause", container.exec_run, "true")
    container.unpause()
    container.exec_run("sh -c 'echo new > /new; rm /etc/marker'")
    changes = {c["Path"]: c["Kind"] for c in container.diff()}
    assert changes["/new"] == 1 and changes["/etc/marker"] == 2 and changes["/etc"] == 0, changes
    container.kill(signal="SIGKILL")
    assert container.wait(timeout=60)["StatusCode"] == 137
    container.start()
    container.restart(timeout=0)
    container.kill()
    assert container.wait() == {"StatusCode": 137} or container.wait()["StatusCode"] == 137
    refused(409, "not running", container.kill)
    exported = members(container.export())
    assert exported["new"] == b"new\n" and "etc/marker" not in exported
    container.start()
    refused(409, "running", container.remove)
    container.remove(force=True)
    try:
        container.reload()
        raise AssertionError("it is there")
    except NotFound as e:
        assert "No such container" in e.explanation, e.explanation
    for n in range(3):
        running(client, f"p{n}", "true", labels={"prune": "yes"}).wait()
    listed = client.containers.list(all=True, limit=2)
    assert [c.name for c in listed] == ["p2", "p1"], listed
    assert [c.name for c in client.containers.list(all=True, filters={"before": "p1"})] == ["p0"]
    assert [c.name for c in client.containers.list(all=True, filters={"since": "p1"})] == ["p2"]
    assert len(client.containers.list(all=True, filters={"exited": 0})) == 3
    assert client.containers.prune(filters={"label": "prune=no"})["ContainersDeleted"] is None
    pruned = client.containers.prune(filters={"label": "prune=yes"})
    assert len(pruned["ContainersDeleted"]) == 3 and pruned["SpaceReclaimed"] >= 0, pruned


def streams(client):
    container = running(client, "aa", ["sh", "-c", "echo one; echo two >&2; while read x; do echo got $x; done"], stdin_open=True)
    await_("both lines", lambda: len(container.logs().splitlines()) == 2)
    assert container.logs(stderr=False) == b"one\n" and container.logs(stdout=False) == b"two\n"
    assert container.logs(tail=1, timestamps=True).split(b" ", 1)[0].endswith(b"Z")
    assert container.logs(since=int(time.time()) + 100) == b""
    assert container.logs(until=1) == b""
    code, (out, err) = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 5"], demux=True)
    assert (code, out, err) == (5, b"out\n", b"err\n"), (code, out, err)
    code, output = container.exec_run("sh -c 'echo $X; pwd; id -u'", environment={"X": "y"}, workdir="/etc", user="user")
    assert (code, output) == (0, b"y\n/etc\n1000\n"), (code, output)
    assert b"".join(container.exec_run("echo streamed", stream=True).output) == b"streamed\n"
    assert container.exec_run("tty", tty=True).output.startswith(b"/dev/"), "a terminal"
    # By hand, with the socket: input, and the end of the input.
    execution = client.api.exec_create(container.id, "cat", stdin=True)
    inspected = client.api.exec_inspect(execution["Id"])
    assert inspected["Running"] is False and inspected["ExitCode"] is None, inspected
    socket = client.api.exec_start(execution["Id"], socket=True)
    raw = getattr(socket, "_sock", socket)
    raw.sendall(b"sent\n")
    raw.shutdown(1)
    frame = b""
    while len(frame) < 13:
        part = raw.recv(4096)
        assert part, frame
        frame += part
    assert frame == b"\x01\0\0\0\0\0\0\x05sent\n", frame
    socket.close()
    await_("its end", lambda: client.api.exec_inspect(execution["Id"])["ExitCode"] == 0)
    assert client.api.exec_inspect(execution["Id"])["ProcessConfig"]["entrypoint"] == "cat"
    refused(404, "exec", client.api.exec_inspect, "nosuch")
    # Attached: what it said, then what comes.
    attached = container.attach(stream=True, logs=True, demux=True)
    assert sorted([next(attached), next(attached)], key=str) == sorted([(b"one\n", None), (None, b"two\n")], key=str)
    socket = container.attach_socket(params={"stdin": 1, "stream": 1})
    raw = getattr(socket, "_sock", socket)
    raw.sendall(b"word\n")
    assert next(attached) == (b"got word\n", None)
    socket.close()
    follow = container.logs(stream=True, follow=True)
    assert [next(follow) for _ in range(3)][-1] == b"got word\n"
    container.kill()
    assert list(follow) == [] and list(attached) == []
    container.remove()


def files(client):
    container = running(client, "aa")
    assert container.put_archive("/tmp", archive(one=b"1", two=b"22")) is True
    assert container.exec_run("cat /tmp/one /tmp/two").output == b"122"
    chunks, stat = container.get_archive("/tmp/two")
    assert stat["name"] == "two" and stat["size"] == 2 and stat["mtime"].startswith("2001-09-09T"), stat
    assert members(chunks) == {"two": b"22"}
    chunks, stat = container.get_archive("/tmp", chunk_size=512)
    files = members(chunks)
    assert files["tmp/one"] == b"1" and stat["name"] == "tmp", files
    container.stop(timeout=0)
    assert container.put_archive("/", archive(three=b"333")) is True
    assert members(container.get_archive("/three")[0]) == {"three": b"333"}
    refused(404, "nosuch", container.get_archive, "/nosuch")
    refused(404, "nosuch", container.put_archive, "/nosuch", archive(x=b""))
    refused(400, "", container.put_archive, "/three", archive(x=b""))
    container.remove()


def volumes(client):
    volume = client.volumes.create(name="v0", driver="local", labels={"k": "v"})
    assert volume.name == "v0" and volume.attrs["Mountpoint"] and volume.attrs["Scope"] == "local", volume.attrs
    assert client.volumes.create(name="v0", labels={"k": "v"}) == volume
    client.volumes.create(name="v1")
    assert sorted(v.name for v in client.volumes.list()) == ["v0", "v1"]
    assert [v.name for v in client.volumes.list(filters={"label": "k=v"})] == ["v0"]
    container = client.containers.create(IMAGE, "true", volumes=["v0:/data", "/anonymous"])
    assert sorted(v.name for v in client.volumes.list(filters={"dangling": True})) == ["v1"]
    refused(409, "used by container", volume.remove)
    container.remove(v=True)
    assert sorted(v.name for v in client.volumes.list()) == ["v0", "v1"], "the anonymous one goes with its container"
    # Without `all` only those without a name go.
    assert not client.volumes.prune()["VolumesDeleted"]
    pruned = client.volumes.prune(filters={"all": True, "label!": ["k=v"]})
    assert pruned["VolumesDeleted"] == ["v1"], pruned
    volume.remove()
    try:
        client.volumes.get("v0")
        raise AssertionError("it is there")
    except NotFound:
        pass
    refused(400, "", client.volumes.create, name="no/slash")
    refused(501, "nosuch", client.volumes.create, name="v2", driver="nosuch")


def events(client):
    begin = int(time.time())
    container = running(client, "aa", "true", labels={"k": "v"})
    container.wait()
    await_("its end", lambda: client.containers.get("aa").status == "exited")
    container.rename("bb")
    container.remove()
    client.volumes.create(name="v0").remove()
    past = list(client.events(since=begin, until=int(time.time()) + 1, decode=True))
    mine = [e["Action"] for e in past if e["Type"] == "container" and e["Actor"]["ID"] == container.id]
    assert mine == ["create", "start", "die", "rename", "destroy"], mine
    die = [e for e in past if e["Action"] == "die" and e["Actor"]["ID"] == container.id][0]
    assert die["Actor"]["Attributes"]["exitCode"] == "0" and die["Actor"]["Attributes"]["k"] == "v", die
    assert die["time"] >= begin and die["timeNano"] // 1_000_000_000 == die["time"] and die["scope"] == "local", die
    assert [e["Action"] for e in past if e["Type"] == "volume"] == ["create", "destroy"], past
    wanted = {"event": "die", "container": container.id}
    assert len(list(client.events(since=begin, until=int(time.time()) + 1, decode=True, filters=wanted))) == 1
    # Live, until closed.
    live = client.events(decode=True, filters={"type": "container"})
    other = client.containers.create(IMAGE, "true")
    assert next(live)["Action"] == "create"
    other.remove()
    assert next(live)["Action"] == "destroy"
    live.close()


GROUPS = {f.__name__: f for f in (system, images, options, containers, streams, files, volumes, events)}

if __name__ == "__main__":
    GROUPS[sys.argv[1]](docker.from_env(timeout=60))
