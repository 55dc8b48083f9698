"""What jobs ask for: memory, time, GPUs, and where files are read from. None of it makes anything out of date. No rule."""

from shutil import which

from featurepaths.experiment.resources import Estimator

ESTIMATOR = Estimator(EXPERIMENT, EXTERNAL.size)
THREADS = EXPERIMENT.torch_threads
GPU_HERE = which("nvidia-smi") is not None


def gpu(w):
    """Return how many GPUs a network's job asks for: on a cluster one, unless `device` is cpu."""
    there = workflow.non_local_exec or GPU_HERE
    return int({"cpu": False, "cuda": True, "auto": there}[EXPERIMENT.device])


def gpu_to_stream(w):
    """Return how many GPUs a job asks for that runs a network only where features are streamed."""
    return gpu(w) if PLAN.streams else 0


def needs(name, w):
    """Return what the estimator's method `name` estimates, for the wildcards that it takes."""
    method = getattr(ESTIMATOR, name)
    on_gpu = {"gpu": bool(gpu_to_stream(w) if name == "detectors" else gpu(w))}
    return method(**{key: on_gpu[key] if key in on_gpu else getattr(w, key) for key in parameters_of(method)})


def resources_of(name, times=1):
    """Return the memory in MB, and the minutes of a job that does `times` times as much; more in every attempt."""
    return {
        "mem_mb": lambda w, attempt: attempt * needs(name, w).mb,
        "runtime": lambda w, attempt: attempt * times * needs(name, w).minutes,
    }


def on_device(name):
    """Return the same of a job that runs a network, with the device to run on, and a GPU if there is one."""
    return {"gpu": gpu, "device": EXPERIMENT.device, **resources_of(name)}


PLACES = ("train", "test", "title") if EXPERIMENT.data.source == "arrays" else ("root", "title")
DATA_OPTIONS = ["--threads", "4"] + [
    f"--{place}={value}" for place in PLACES if (value := getattr(EXPERIMENT.data, place, None)) is not None
]
if getattr(EXPERIMENT.data, "download", False):
    DATA_OPTIONS.append("--download")


def training_options(w):
    """Return the options for the table of epochs, and for how many images are held in memory."""
    return ["--training", f"{RESULTS}/{w.run}/training.csv", "--in-memory-mb", str(EXPERIMENT.in_memory_mb)]


def attack_options(w):
    """Return the options for the split, and for the file of precomputed adversarial images."""
    attack = EXPERIMENT.attacks[w.attack]
    file = attack.files.get(w.split) if attack.method == "precomputed" else None
    return [f"--split={w.split}", *([f"--file={file}"] if file else [])]


def pretrained_options(w):
    """Return the options for the weights, and for the number of layers that the configuration needs."""
    model = EXPERIMENT.pretrained(Run.parse(w.run).model)
    weights = [f"--weights={model.checkpoint}"] if model.checkpoint else []
    return [*weights, "--needs", *(f"{key}={number}" for key, number in EXPERIMENT.named_layers.items())]
