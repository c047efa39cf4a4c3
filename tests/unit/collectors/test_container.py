import pytest

from yprov_mlflow.prov.collectors import container
from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable

ID = "0123456789abcdef" * 4
OTHER_ID = "fedcba9876543210" * 4


@pytest.fixture
def write(tmp_path):
    """Write files below a pretended root; give the root."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "environ", "kind"),
    [
        ([], {}, None),
        ([".dockerenv"], {}, "docker"),
        (["run/.containerenv"], {}, "podman"),
        ([".dockerenv"], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ([], {"SINGULARITY_NAME": "image.sif"}, "apptainer"),
        ([], {"CH_RUNNING": "Weird Al Yankovic"}, "charliecloud"),
        ([], {"container": "lxc"}, "lxc"),
        ([], {"container": "a word of the user's"}, None),
    ],
)
def test_kinds(write, files, environ, kind):
    assert container.kind(write(dict.fromkeys(files, "")), environ) == kind


def test_no_container(tmp_path):
    assert container.Container(CollectorContext(tmp_path, {})).probe() == Unavailable(
        "not in a container"
    )


def test_docker_with_limits(write):
    root = write(
        {
            ".dockerenv": "",
            "proc/meminfo": "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable: 500 kB\n",
            "proc/self/cgroup": f"0::/docker/{ID}\n",
            f"sys/fs/cgroup/docker/{ID}/cpu.max": "150000 100000\n",
            f"sys/fs/cgroup/docker/{ID}/memory.max": "512000\n",
        }
    )
    assert container.Container(CollectorContext(root, {})).probe() == Available(
        {"kind": "docker", "id": ID, "cpu_limit": 1.5, "memory_limit_bytes": 512000}
    )


def test_id_of_innermost_container(write):
    root = write(
        {
            ".dockerenv": "",
            "proc/self/cgroup": f"4:memory:/docker/{OTHER_ID}/kubepods/pod1/docker-{ID}.scope\n",
        }
    )
    assert container.collect(root, {})["id"] == ID


def test_id_from_mounts(write):
    line = f"719 707 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/a rw"
    layer = f"700 600 0:52 / / rw - overlay overlay rw,lowerdir=/var/lib/{OTHER_ID}/fs"
    root = write(
        {
            ".dockerenv": "",
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": f"{layer}\n{line}\n",
        }
    )
    assert container.collect(root, {}) == {"kind": "docker", "id": ID}


def test_podman_containerenv(write):
    noted = f'engine="podman-4.9"\nname="train"\nid="{ID}"\nimage="docker.io/pytorch:2"\n'
    assert container.collect(write({"run/.containerenv": noted}), {}) == {
        "kind": "podman",
        "id": ID,
        "name": "train",
        "image": "docker.io/pytorch:2",
    }


def test_apptainer(tmp_path):
    environ = {"APPTAINER_NAME": "t.sif", "APPTAINER_CONTAINER": "/images/t.sif"}
    assert container.collect(tmp_path, environ) == {
        "kind": "apptainer",
        "name": "t.sif",
        "image": "/images/t.sif",
    }


def test_kubernetes(write):
    folder = "var/run/secrets/kubernetes.io/serviceaccount"
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "POD_NAME": "train-0", "HOSTNAME": "node7"}
    assert container.collect(write({f"{folder}/namespace": "research\n"}), environ) == {
        "kind": "kubernetes",
        "pod": "train-0",
        "namespace": "research",
    }
